//! The server of both webhooks.

use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use decant_shared::conn::Fault;
use decant_shared::http::server::{Exchange, Limits, Server, Service};
use decant_shared::stop::Stop;
use decant_shared::tls::renewable::Renewable;
use decant_shared::tls::{Unusable, pem};
use time::OffsetDateTime;

use super::configuration::trust;
use super::review::{answer, parse};
use super::{Gate, MUTATE_PATH, VALIDATE_PATH};
use crate::cluster::Cluster;
use crate::token::TokenKey;

/// The API server sends at most two objects of 1.5 MiB each (etcd's limit).
const BODY_MAX_BYTES: usize = 3 << 20;
/// For the whole body. The API server waits 30 s for the answer, and asking it takes its share of them.
const BODY_LIMIT: Duration = Duration::from_secs(10);
/// How often the certificate is asked for again: far below what is left of its life when it is renewed.
const RENEWAL: Duration = Duration::from_secs(600);
/// How often the configurations are looked at: as long as an installation has to wait for its first DataVolume.
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
pub struct Settings {
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
    pub fn start(settings: Settings, listener: TcpListener, stop: Stop) -> Result<Self, String> {
        let Settings { cluster, keys, own_user, claim_adoption, identity } = settings;
        let first = identity()?;
        let renewable = read(&first).and_then(Renewable::new).map_err(|e| e.to_string())?;
        let tls = renewable.config_for_anyone().map_err(|e| e.to_string())?;
        let failed = |e: io::Error| format!("cannot start the webhook: {e}");
        let gate = Gate { cluster: Arc::clone(&cluster), keys, own_user, claim_adoption };
        let service = Arc::new(Reviews(gate));
        let server =
            Server::start("webhook", listener, Some(tls.into()), Limits::default(), service, Stop::new())
                .map_err(failed)?;
        let keeper = Keeper { cluster, identity, renewable, current: first, stop };
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

/// Keeps the certificate and the trust in it up to date.
struct Keeper {
    cluster: Arc<dyn Cluster>,
    identity: IdentityProvider,
    renewable: Arc<Renewable>,
    current: WebhookIdentity,
    stop: Stop,
}

impl Keeper {
    fn run(mut self) {
        let mut renewed = Instant::now();
        while !self.stop.is_set() {
            if renewed.elapsed() >= RENEWAL {
                renewed = Instant::now();
                if let Err(e) = self.renew() {
                    log::warn!("webhook: the certificate stays as it is: {e}");
                }
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

fn read(identity: &WebhookIdentity) -> Result<decant_shared::tls::Identity, Unusable> {
    pem::identity(
        identity.chain_pem.as_bytes(),
        "the webhook's certificate",
        identity.key_pem.as_bytes(),
        "the webhook's key",
    )
}

struct Reviews(Gate);

impl Service for Reviews {
    fn serve(&self, exchange: &mut Exchange) -> Result<(), Fault> {
        let is_mutation = match exchange.request.path.as_str() {
            MUTATE_PATH => true,
            VALIDATE_PATH => false,
            _ => return exchange.answer(404, "text/plain", "no such webhook\n"),
        };
        if exchange.request.method != "POST" {
            return exchange.answer(405, "text/plain", "POST an AdmissionReview\n");
        }
        let request = match body(exchange).and_then(|body| parse(&body)) {
            Ok(request) => request,
            Err(why) => return exchange.answer(400, "text/plain", &format!("{why}\n")),
        };
        let verdict = match is_mutation {
            true => self.0.mutate(&request, OffsetDateTime::now_utc()),
            false => self.0.validate(&request),
        };
        exchange.answer(200, "application/json", &answer(&request.uid, &verdict))
    }
}

/// The whole body, if it is not too long and comes in time.
fn body(exchange: &mut Exchange) -> Result<Vec<u8>, String> {
    let deadline = Instant::now() + BODY_LIMIT;
    let mut body = exchange.body().map_err(|e| e.to_string())?;
    let mut whole = Vec::new();
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match body.next(left).map_err(|e| e.to_string())? {
            None => return Ok(whole),
            Some(part) if whole.len() + part.len() > BODY_MAX_BYTES => {
                return Err(format!("the body has more than {BODY_MAX_BYTES} bytes"));
            }
            Some(part) => whole.extend_from_slice(part),
        }
    }
}
