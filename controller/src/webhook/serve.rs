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

/// The API server sends at most two objects of 1.5 MiB each (etcd's limit), and some KiB about who asks for what.
const BODY_MAX_BYTES: usize = (3 << 20) + (256 << 10);
/// For a small body, and until a large one is known to be large. The API server waits 30 s for the answer, and asking it
/// takes its share of them.
const BODY_LIMIT: Duration = Duration::from_secs(10);
/// A review up to here is small: with all connections in use, such reviews take some MiB together. Usual ones have less.
const SMALL_MAX_BYTES: usize = 32 << 10;
/// Larger reviews that are held in memory at a time: 4 MiB each, and as much again for what is taken out of them.
const LARGE_MAX: usize = 2;
/// For a place among them. They are parsed in milliseconds, so who waits longer has others before him that do not send.
const PLACE_LIMIT: Duration = Duration::from_secs(5);
/// For the rest of a large body once it has a place: 9 Mbit/s. A slow one keeps others out for so long.
const LARGE_LIMIT: Duration = Duration::from_secs(3);
/// How often the certificate is asked for again: far below what is left of its life when it is renewed.
const RENEWAL: Duration = Duration::from_secs(600);
/// How often the configurations and the file with the callers' authorities are looked at: as long as an installation has
/// to wait for its first DataVolume.
const TRUST: Duration = Duration::from_secs(10);

/// What the webhook proves itself with, as PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct WebhookIdentity {
    /// The leaf first.
    pub chain_pem: String,
    /// The leaf's key.
    pub key_pem: String,
    /// The authority that the API server is to trust.
    pub ca_pem: String,
}

/// Gives the certificate to be used now: the same one as long as it is good. It may take a while.
pub type IdentityProvider = Box<dyn Fn() -> Result<WebhookIdentity, String> + Send + Sync>;

/// What the webhook needs.
pub struct WebhookSettings {
    /// Where permissions, claims and DataSources are asked for.
    pub cluster: Arc<dyn Cluster>,
    /// What tokens are written with.
    pub keys: Arc<TokenKey>,
    /// The controller's user, `system:serviceaccount:<namespace>:<name>`: it alone may write tokens.
    pub own_user: String,
    /// Whether claims may be adopted without the annotation.
    pub claim_adoption: bool,
    /// The certificate.
    pub identity: IdentityProvider,
    /// Who is answered; `None` for everybody.
    pub callers: Option<Callers>,
}

/// The running webhook.
pub struct Webhook {
    server: Server,
    keeper: JoinHandle<()>,
}

impl Webhook {
    /// Serves on `listener` until [`Webhook::shut_down`], or the end of the process: while other things stop, the
    /// API server still gets its answers. The certificate is renewed, and its authority written into the two
    /// configurations, by a thread of its own that ends with `stop`.
    pub fn start(settings: WebhookSettings, listener: TcpListener, stop: Stop) -> Result<Self, String> {
        let WebhookSettings { cluster, keys, own_user, claim_adoption, identity, callers } = settings;
        let first = identity()?;
        let said = |e: TlsConfigError| e.to_string();
        let renewable = read(&first).and_then(RenewableCertificate::new).map_err(said)?;
        let known = callers.clone().map(KnownCallers::new).transpose().map_err(said)?;
        let tls = match &known {
            Some(known) => renewable.config_with_client_auth(&known.clients),
            None => renewable.config_without_client_auth(),
        };
        let failed = |e: io::Error| format!("cannot start the webhook: {e}");
        let gate = Gate { cluster: Arc::clone(&cluster), keys, own_user, claim_adoption };
        let service = Arc::new(Reviews { gate, callers, review_slots: ReviewSlots::new(LARGE_MAX) });
        let tls = Some(tls.map_err(said)?.into());
        let server = Server::start("webhook", listener, tls, Limits::default(), service, Stop::new())
            .map_err(failed)?;
        let keeper = TrustKeeper { cluster, identity, renewable, current: first, known, stop };
        let keeper =
            Builder::new().name("webhook-trust".to_owned()).spawn(move || keeper.run()).map_err(failed)?;
        Ok(Self { server, keeper })
    }

    /// Takes no more requests; those that are open have at most `limit`. To be called after the stop token was set.
    pub fn shut_down(self, limit: Duration) {
        let open = self.server.shut_down(limit);
        if open > 0 {
            log::warn!("webhook: {open} requests were cut off");
        }
        // It only ends early by a panic, which has been reported.
        let _ = self.keeper.join();
    }
}

/// The callers' authorities as they were last read.
struct KnownCallers {
    callers: Callers,
    text: Vec<u8>,
    clients: Arc<RenewableClientVerifier>,
    /// The last complaint, so that it is said once.
    complaint: String,
}

impl KnownCallers {
    fn new(callers: Callers) -> Result<Self, TlsConfigError> {
        let text = callers.read()?;
        let clients = RenewableClientVerifier::new(callers.roots(&text)?)?;
        Ok(Self { callers, text, clients, complaint: String::new() })
    }

    /// Takes what is in the file now. As long as it cannot be used, what was there before counts.
    fn renew(&mut self) {
        let renewed = self.callers.read().and_then(|text| {
            if text != self.text {
                self.clients.replace(self.callers.roots(&text)?)?;
                self.text = text;
                log::info!("webhook: new authorities for callers");
            }
            Ok(())
        });
        let complaint = renewed.err().map(|e| e.to_string()).unwrap_or_default();
        if complaint != self.complaint && !complaint.is_empty() {
            log::warn!("webhook: the authorities for callers stay as they are: {complaint}");
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
                    log::warn!("webhook: the certificate stays as it is: {e}");
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
                    log::debug!("webhook: {} gets no answer: {}", exchange.peer, excerpt(&why));
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
        // The place is kept until the answer is there.
        let (body, _place) = match body(exchange, &self.review_slots) {
            Ok(read) => read,
            Err(Unread::Bad(why)) => return exchange.answer(400, "text/plain", &format!("{why}\n")),
            Err(Unread::Busy) => {
                let text = "other large reviews take too long: ask again in a moment\n";
                return exchange.answer(503, "text/plain", text);
            }
        };
        // Whatever one review brings to light must not end the answers to all others.
        match panics::catch(|| self.gate.answer(question, &body, caller, OffsetDateTime::now_utc())) {
            Ok(Ok(answer)) => exchange.answer(200, "application/json", &answer),
            Ok(Err(why)) => exchange.answer(400, "text/plain", &format!("{why}\n")),
            Err(panic) => {
                log::error!("webhook: a fault in the controller, please report it: {panic}");
                exchange.answer(500, "text/plain", "a fault in the webhook; its log says which\n")
            }
        }
    }

    /// The API server, where it proves itself: strangers cannot take its place.
    fn knows(&self, certificates: &[CertificateDer<'static>]) -> bool {
        self.callers.as_ref().is_some_and(|callers| callers.accept(certificates.first()).is_ok())
    }
}

/// Why a body was not read to its end.
enum Unread {
    /// It is too long or damaged, or did not come in time; the text says which.
    Bad(String),
    /// There was no place for it.
    Busy,
}

/// The whole body, if it is not too long and comes in time, and its place if it is large: that is taken before more
/// than a small one is read.
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
    let mut place = None;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        // Nothing is taken from the connection yet: who announces much and sends nothing gets no place.
        if !body.ready(left).map_err(|e| bad(&e))? {
            return Err(Unread::Bad("the body did not come in time".to_owned()));
        }
        if place.is_none() && announced.max(whole.len()) > SMALL_MAX_BYTES {
            place = Some(review_slots.take(PLACE_LIMIT).ok_or(Unread::Busy)?);
            deadline = Instant::now() + LARGE_LIMIT;
            whole.reserve_exact(announced.saturating_sub(whole.len()));
        }
        match body.next(left).map_err(|e| bad(&e))? {
            None => return Ok((whole, place)),
            Some(part) if whole.len() + part.len() > BODY_MAX_BYTES => return Err(too_long()),
            Some(part) => whole.extend_from_slice(part),
        }
    }
}
