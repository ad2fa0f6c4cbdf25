//! Metrics pages of a thousand source pods: one server on all addresses of loopback, with the certificate that the
//! controller would have given to the pod it is asked for.

use std::collections::{HashMap, HashSet};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use decant_controller::certificates::pki::Pki;
use decant_shared::net::conn::ConnError;
use decant_shared::net::http::server::{Exchange, Limits, Server, Service};
use decant_shared::net::tls::pem;
use decant_shared::process::stop::Stop;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use time::OffsetDateTime;

use crate::sandbox::Sandbox;

/// Of certificates: longer than the test.
const LIFE: Duration = Duration::from_secs(3600);
/// How long a clone takes by these pages.
const WHOLE: Duration = Duration::from_secs(1200);
const SIZE_BYTES: u64 = 10 << 30;

pub(crate) struct Pages {
    /// Where the pages are, on every address of loopback.
    pub(crate) port: u16,
    shared: Arc<Shared>,
    server: Option<Server>,
}

struct Shared {
    pki: Pki,
    begun: Instant,
    /// The owner's UID by the name in the certificate.
    owners: Mutex<HashMap<String, String>>,
    certificates: Mutex<HashMap<String, Arc<CertifiedKey>>>,
    asked: Mutex<HashSet<String>>,
}

impl Pages {
    pub(crate) fn start(sandbox: &Sandbox) -> Self {
        let now = OffsetDateTime::now_utc();
        let pki = Pki::open(&*sandbox.cluster, &sandbox.namespace, now).unwrap();
        let shared = Arc::new(Shared {
            pki,
            begun: Instant::now(),
            owners: Mutex::default(),
            certificates: Mutex::default(),
            asked: Mutex::default(),
        });
        let listener = TcpListener::bind("0.0.0.0:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let tls = rustls::ServerConfig::builder()
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(CertificateByName(Arc::clone(&shared))));
        let service = Arc::new(Page(Arc::clone(&shared)));
        let server = Server::start(
            "pages",
            listener,
            Some(Arc::new(tls).into()),
            Limits::default(),
            service,
            Stop::new(),
        )
        .unwrap();
        Self { port, shared, server: Some(server) }
    }

    /// From now on, `host` reports the progress of the clone of `owner`.
    pub(crate) fn add(&self, host: String, owner: String) {
        self.shared.owners.lock().unwrap().insert(host, owner);
    }

    /// How many pods were asked at least once.
    pub(crate) fn asked(&self) -> usize {
        self.shared.asked.lock().unwrap().len()
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        self.server.take().unwrap().shut_down(Duration::from_secs(1));
    }
}

struct Page(Arc<Shared>);

impl Service for Page {
    fn serve(&self, exchange: &mut Exchange) -> Result<(), ConnError> {
        let host = exchange.request.header("host").unwrap_or_default().to_owned();
        let owner = self.0.owners.lock().unwrap().get(&host).cloned().unwrap_or_default();
        self.0.asked.lock().unwrap().insert(host);
        let share = (self.0.begun.elapsed().as_secs_f64() / WHOLE.as_secs_f64()).min(0.99);
        #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let sent_bytes = (SIZE_BYTES as f64 * share) as u64;
        let page = format!(
            "# TYPE kubevirt_cdi_clone_progress_total counter\n\
             kubevirt_cdi_clone_progress_total{{ownerUID=\"{owner}\"}} {:.2}\n\
             decant_sent_bytes_total {sent_bytes}\ndecant_stream_size_bytes {SIZE_BYTES}\n",
            100.0 * share,
        );
        exchange.answer(200, "text/plain", &page)
    }
}

/// Selects the certificate of the requested host.
struct CertificateByName(Arc<Shared>);

impl std::fmt::Debug for CertificateByName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ByName")
    }
}

impl ResolvesServerCert for CertificateByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name()?.to_owned();
        if let Some(known) = self.0.certificates.lock().unwrap().get(&name) {
            return Some(Arc::clone(known));
        }
        let leaf =
            self.0.pki.server_leaf(std::slice::from_ref(&name), LIFE, OffsetDateTime::now_utc()).ok()?;
        let identity =
            pem::identity(leaf.chain_pem.as_bytes(), "chain", leaf.key_pem.as_bytes(), "key").ok()?;
        let provider = rustls::crypto::ring::default_provider();
        let key = Arc::new(CertifiedKey::from_der(identity.chain, identity.key, &provider).ok()?);
        self.0.certificates.lock().unwrap().insert(name, Arc::clone(&key));
        Some(key)
    }
}
