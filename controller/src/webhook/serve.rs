//! The server of both webhooks.

use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use decant_shared::net::conn::ConnError;
use decant_shared::net::http::head::Framing;
use decant_shared::net::http::server::{Exchange, Limits, Server, Service};
use decant_shared::net::tls::renewable::{RenewableCertificate, RenewableClientVerifier};
use decant_shared::net::tls::{TlsConfigError, pem};
use decant_shared::process::panics;
use decant_shared::process::stop::Stop;
use rustls::pki_types::CertificateDer;
use time::OffsetDateTime;

use crate::api::cluster::Cluster;
use crate::objects::webhook_configuration::{MUTATE_PATH, VALIDATE_PATH};
use crate::token::key::TokenKey;
use crate::webhook::callers::{Caller, Callers};
use crate::webhook::configuration::trust;
use crate::webhook::excerpt::excerpt;
use crate::webhook::gate::{Gate, Question};
use crate::webhook::review_slots::{ReviewSlot, ReviewSlots};

/// The API server sends at most two objects of 1.5 MiB each (the limit of etcd), and some KiB about the request.
const BODY_MAX_BYTES: usize = (3 << 20) + (256 << 10);
/// Time limit for a small body, and for a large one until its size is known. The API server waits 30 s for the
/// response, and the calls of the webhook need a part of them.
const BODY_LIMIT: Duration = Duration::from_secs(10);
/// The maximum size of a small review: on all connections together, small reviews need some MiB. Usual ones are
/// smaller.
const SMALL_MAX_BYTES: usize = 32 << 10;
/// The number of larger reviews in memory: 4 MiB each, and as much again for parsed parts.
const LARGE_MAX: usize = 2;
/// Time limit for a slot. Parsing takes milliseconds, so a longer wait means that other clients send slowly.
const SLOT_LIMIT: Duration = Duration::from_secs(5);
/// Time limit for the rest of a large body once it has a slot: 9 Mbit/s. A slow client blocks others for at most this
/// long.
const LARGE_LIMIT: Duration = Duration::from_secs(3);
/// How often the certificate is checked: much shorter than the rest of its lifetime when it is renewed.
const RENEWAL: Duration = Duration::from_secs(600);
/// How often the configurations and the file with the client authorities are checked: a new installation accepts
/// DataVolumes after at most this time.
const TRUST: Duration = Duration::from_secs(10);

/// The certificate of the webhook, as PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct WebhookIdentity {
    /// The certificate chain, leaf first.
    pub chain_pem: String,
    /// The private key.
    pub key_pem: String,
    /// The authority for the API server to trust.
    pub ca_pem: String,
}

/// Provides the current certificate; may block for a while.
pub type IdentityProvider = Box<dyn Fn() -> Result<WebhookIdentity, String> + Send + Sync>;

/// The settings of the webhook.
pub struct WebhookSettings {
    /// For permissions, claims and DataSources.
    pub cluster: Arc<dyn Cluster>,
    /// Signs tokens.
    pub keys: Arc<TokenKey>,
    /// The user of the controller, `system:serviceaccount:<namespace>:<name>`: only it may write tokens.
    pub own_user: String,
    /// Whether claims may be adopted without the annotation.
    pub claim_adoption: bool,
    /// The certificate.
    pub identity: IdentityProvider,
    /// The clients to answer; `None` for all.
    pub callers: Option<Callers>,
}

/// The running webhook.
pub struct Webhook {
    server: Server,
    keeper: JoinHandle<()>,
}

impl Webhook {
    /// Serves on `listener` until [`Webhook::shut_down`] or the end of the process, so that the API server gets
    /// responses while the other parts stop. A separate thread renews the certificate and writes its authority into the
    /// two configurations; it ends with `stop`.
    pub fn start(settings: WebhookSettings, listener: TcpListener, stop: Stop) -> Result<Self, String> {
        let WebhookSettings { cluster, keys, own_user, claim_adoption, identity, callers } = settings;
        let first = identity()?;
        let text = |e: TlsConfigError| e.to_string();
        let renewable = read(&first).and_then(RenewableCertificate::new).map_err(text)?;
        let known = callers.clone().map(KnownCallers::new).transpose().map_err(text)?;
        let tls = match &known {
            Some(known) => renewable.config_with_client_auth(&known.clients),
            None => renewable.config_without_client_auth(),
        };
        let failed = |e: io::Error| format!("cannot start the webhook: {e}");
        let gate = Gate { cluster: Arc::clone(&cluster), keys, own_user, claim_adoption };
        let service = Arc::new(Reviews { gate, callers, review_slots: ReviewSlots::new(LARGE_MAX) });
        let tls = Some(tls.map_err(text)?.into());
        let server = Server::start("webhook", listener, tls, Limits::default(), service, Stop::new())
            .map_err(failed)?;
        let keeper = TrustKeeper { cluster, identity, renewable, current: first, known, stop };
        let keeper =
            Builder::new().name("webhook-trust".to_owned()).spawn(move || keeper.run()).map_err(failed)?;
        Ok(Self { server, keeper })
    }

    /// Accepts no more requests; open ones have at most `limit`. Call it after the stop token was set.
    pub fn shut_down(self, limit: Duration) {
        let open = self.server.shut_down(limit);
        if open > 0 {
            log::warn!("webhook: {open} requests were aborted");
        }
        // It ends early only by a panic, which has been reported.
        let _ = self.keeper.join();
    }
}

/// The client authorities that were read last.
struct KnownCallers {
    callers: Callers,
    text: Vec<u8>,
    clients: Arc<RenewableClientVerifier>,
    /// The last error, to log it only once.
    complaint: String,
}

impl KnownCallers {
    fn new(callers: Callers) -> Result<Self, TlsConfigError> {
        let text = callers.read()?;
        let clients = RenewableClientVerifier::new(callers.roots(&text)?)?;
        Ok(Self { callers, text, clients, complaint: String::new() })
    }

    /// Reads the file again. If it cannot be used, the previous authorities stay valid.
    fn renew(&mut self) {
        let renewed = self.callers.read().and_then(|text| {
            if text != self.text {
                self.clients.replace(self.callers.roots(&text)?)?;
                self.text = text;
                log::info!("webhook: client authorities changed");
            }
            Ok(())
        });
        let complaint = renewed.err().map(|e| e.to_string()).unwrap_or_default();
        if complaint != self.complaint && !complaint.is_empty() {
            log::warn!("webhook: cannot read the client authorities, keeping the previous ones: {complaint}");
        }
        self.complaint = complaint;
    }
}

/// Keeps the certificate and the trust in it up to date.
struct TrustKeeper {
    cluster: Arc<dyn Cluster>,
    identity: IdentityProvider,
    renewable: Arc<RenewableCertificate>,
    current: WebhookIdentity,
    known: Option<KnownCallers>,
    stop: Stop,
}

impl TrustKeeper {
    fn run(mut self) {
        let mut renewed = Instant::now();
        while !self.stop.is_set() {
            if renewed.elapsed() >= RENEWAL {
                renewed = Instant::now();
                if let Err(e) = self.renew() {
                    log::warn!("webhook: cannot renew the certificate, keeping the previous one: {e}");
                }
            }
            if let Some(known) = &mut self.known {
                known.renew();
            }
            match trust(&*self.cluster, &self.current.ca_pem) {
                Ok(0) => {}
                Ok(written) => log::info!("webhook: authority written into {written} configurations"),
                Err(e) => log::warn!("webhook: {e}"),
            }
            self.stop.sleep(TRUST);
        }
    }

    fn renew(&mut self) -> Result<(), String> {
        let next = (self.identity)()?;
        if next != self.current {
            read(&next).and_then(|identity| self.renewable.replace(identity)).map_err(|e| e.to_string())?;
            self.current = next;
            log::info!("webhook: new certificate");
        }
        Ok(())
    }
}

fn read(identity: &WebhookIdentity) -> Result<decant_shared::net::tls::Identity, TlsConfigError> {
    pem::identity(
        identity.chain_pem.as_bytes(),
        "the webhook's certificate",
        identity.key_pem.as_bytes(),
        "the webhook's key",
    )
}

struct Reviews {
    gate: Gate,
    callers: Option<Callers>,
    review_slots: ReviewSlots,
}

impl Service for Reviews {
    fn serve(&self, exchange: &mut Exchange) -> Result<(), ConnError> {
        let caller = match &self.callers {
            None => Caller::Unknown,
            Some(callers) => match callers.accept(exchange.peer_certificates().first()) {
                Ok(()) => Caller::Proven,
                Err(why) => {
                    log::debug!("webhook: request of {} ignored: {}", exchange.peer, excerpt(&why));
                    return Ok(());
                }
            },
        };
        let question = match exchange.request.path.as_str() {
            MUTATE_PATH => Question::Mutate,
            VALIDATE_PATH => Question::Validate,
            _ => return exchange.answer(404, "text/plain", "no such webhook\n"),
        };
        if exchange.request.method != "POST" {
            return exchange.answer(405, "text/plain", "POST an AdmissionReview\n");
        }
        // The slot is kept until the response is ready.
        let (body, _slot) = match body(exchange, &self.review_slots) {
            Ok(read) => read,
            Err(Unread::Bad(why)) => return exchange.answer(400, "text/plain", &format!("{why}\n")),
            Err(Unread::Busy) => {
                let text = "too many large reviews, retry later\n";
                return exchange.answer(503, "text/plain", text);
            }
        };
        // A fault in one review must not end the responses to others.
        match panics::catch(|| self.gate.answer(question, &body, caller, OffsetDateTime::now_utc())) {
            Ok(Ok(answer)) => exchange.answer(200, "application/json", &answer),
            Ok(Err(why)) => exchange.answer(400, "text/plain", &format!("{why}\n")),
            Err(panic) => {
                log::error!("webhook: internal error, please report it: {panic}");
                exchange.answer(500, "text/plain", "internal error; see the log of the webhook\n")
            }
        }
    }

    /// The authenticated API server: other clients cannot displace its connections.
    fn knows(&self, certificates: &[CertificateDer<'static>]) -> bool {
        self.callers.as_ref().is_some_and(|callers| callers.accept(certificates.first()).is_ok())
    }
}

/// Why a body was not read completely.
enum Unread {
    /// It is too long or invalid, or did not arrive in time; with the reason.
    Bad(String),
    /// No slot was free.
    Busy,
}

/// The whole body, if it is not too long and arrives in time. A large body also has a slot, which is taken before more
/// than a small body is read.
fn body<'p>(
    exchange: &mut Exchange,
    review_slots: &'p ReviewSlots,
) -> Result<(Vec<u8>, Option<ReviewSlot<'p>>), Unread> {
    let too_long = || Unread::Bad(format!("the body has more than {BODY_MAX_BYTES} bytes"));
    let announced = match exchange.request.framing {
        Framing::Length(len) => usize::try_from(len).unwrap_or(usize::MAX),
        Framing::Chunked | Framing::UntilClose => 0,
    };
    if announced > BODY_MAX_BYTES {
        return Err(too_long());
    }
    let bad = |why: &dyn std::fmt::Display| Unread::Bad(excerpt(&why.to_string()));
    let mut deadline = Instant::now() + BODY_LIMIT;
    let mut body = exchange.body().map_err(|e| bad(&e))?;
    let mut whole = Vec::new();
    let mut slot = None;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        // Nothing is read yet: a client that announces a large body and sends nothing gets no slot.
        if !body.ready(left).map_err(|e| bad(&e))? {
            return Err(Unread::Bad("the body did not arrive in time".to_owned()));
        }
        if slot.is_none() && announced.max(whole.len()) > SMALL_MAX_BYTES {
            slot = Some(review_slots.take(SLOT_LIMIT).ok_or(Unread::Busy)?);
            deadline = Instant::now() + LARGE_LIMIT;
            whole.reserve_exact(announced.saturating_sub(whole.len()));
        }
        match body.next(left).map_err(|e| bad(&e))? {
            None => return Ok((whole, slot)),
            Some(part) if whole.len() + part.len() > BODY_MAX_BYTES => return Err(too_long()),
            Some(part) => whole.extend_from_slice(part),
        }
    }
}
