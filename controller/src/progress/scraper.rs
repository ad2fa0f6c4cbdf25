//! Reads the progress of a source pod, or of the pod of a direct clone. A failed scrape is only "no news": it never changes a phase and never fails a
//! clone (docs/migrate-from-cdi.md rows 16 to 20).

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use decant_shared::protocol::limit_order::{LimitOrder, LimitSigner};
use decant_shared::protocol::prometheus::PAGE_MAX_BYTES;
use ureq::config::Config;
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};
use ureq::{Agent, http};

use crate::api::cluster::Cluster;
use crate::certificates::pki::Pki;
use crate::objects::{Pod, names};
use crate::progress::page::{SourceReading, reading};

/// The port's name in the source pod (docs/protocol.md section 3.3).
const PORT_NAME: &str = "metrics";
/// The path of the page.
const PAGE: &str = "/metrics";

/// The route of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScrapeRoute {
    /// From the pod itself.
    Direct,
    /// Through the API server.
    Proxy,
}

impl ScrapeRoute {
    /// The route that is tried first. The pod of a direct clone has no certificate of the controller's authority, so the
    /// API server, which the controller knows, comes first.
    pub(super) fn first_to(pod: &Pod) -> Self {
        if pod.is_direct() { ScrapeRoute::Proxy } else { ScrapeRoute::Direct }
    }
}

/// Reads the metrics pages of source pods.
pub struct Scraper {
    cluster: Arc<dyn Cluster>,
    pki: Arc<Pki>,
    /// Signs orders about bandwidth limits.
    signer: Option<LimitSigner>,
    limit: Duration,
}

impl Scraper {
    /// A scraper that allows `limit` for each route. It sends no orders.
    pub fn new(cluster: Arc<dyn Cluster>, pki: Arc<Pki>, limit: Duration) -> Self {
        Self { cluster, pki, signer: None, limit }
    }

    /// Sends orders that `signer` signs.
    pub fn with_signer(self, signer: Option<LimitSigner>) -> Self {
        Self { signer, ..self }
    }

    /// Reads the progress of the clone `owner_uid` from `pod`, and gives it `order`. `first` is the route that worked
    /// last time.
    pub fn scrape(
        &self,
        pod: &Pod,
        owner_uid: &str,
        order: Option<LimitOrder>,
        first: ScrapeRoute,
    ) -> Result<(SourceReading, ScrapeRoute), String> {
        let routes = if first == ScrapeRoute::Direct {
            [ScrapeRoute::Direct, ScrapeRoute::Proxy]
        } else {
            [ScrapeRoute::Proxy, ScrapeRoute::Direct]
        };
        let query = order.zip(self.signer.as_ref());
        let query = query.map(|(order, signer)| order.query(pod.metadata.uid.as_str(), signer));
        let path = query.map_or_else(|| PAGE.to_owned(), |query| format!("{PAGE}?{query}"));
        let mut failures = Vec::new();
        for route in routes {
            let page = match route {
                ScrapeRoute::Direct => self.direct(pod, &path),
                ScrapeRoute::Proxy => self.proxied(pod, &path),
            };
            match page.and_then(|page| reading(&page, owner_uid)) {
                Ok(reading) => return Ok((reading, route)),
                Err(e) => failures.push(format!("{route:?}: {e}")),
            }
        }
        Err(failures.join("; "))
    }

    /// The pod of a direct clone has a self-signed certificate, so that it needs no Secret: as with
    /// [`Scraper::proxied`], an attacker on the way can forge a percentage, and nothing else.
    fn direct(&self, pod: &Pod, path: &str) -> Result<String, String> {
        let ip: IpAddr = pod.status.pod_ip.parse().map_err(|_| "the pod has no address".to_owned())?;
        let address = SocketAddr::new(ip, port(pod)?);
        let host = names::metrics_host(&pod.metadata.name);
        let roots_pem = self.pki.server_bundle_pem();
        fetch(&host, address, path, Some(&*roots_pem).filter(|_| !pod.is_direct()), self.limit)
    }

    /// The API server does not check the pod's certificate: an attacker between it and the node can forge a percentage
    /// and a limit in force, and nothing else (docs/decisions/0015).
    fn proxied(&self, pod: &Pod, path: &str) -> Result<String, String> {
        let page = self.cluster.pod_proxy(&pod.metadata.key(), port(pod)?, path, self.limit, PAGE_MAX_BYTES);
        page.map_err(|e| e.to_string())
    }
}

fn port(pod: &Pod) -> Result<u16, String> {
    let mut ports = pod.spec.containers.iter().flat_map(|container| &container.ports);
    let port = ports.find(|port| port.name == PORT_NAME).map(|port| port.container_port);
    port.ok_or_else(|| format!("the pod has no port called {PORT_NAME}"))
}

/// `GET https://host` and `path` from `address`, whose certificate is checked against `roots_pem`, if there are any. Uses no
/// proxy, follows no redirect, and reads at most the length of a metrics page.
fn fetch(
    host: &str,
    address: SocketAddr,
    path: &str,
    roots_pem: Option<&str>,
    limit: Duration,
) -> Result<String, String> {
    let tls = match roots_pem {
        Some(pem) => TlsConfig::builder().root_certs(roots(pem)?),
        None => TlsConfig::builder().disable_verification(true),
    }
    .build();
    let config = Config::builder()
        .tls_config(tls)
        .proxy(None)
        .max_redirects(0)
        .timeout_global(Some(limit))
        .user_agent("decant-controller")
        .build();
    let agent = Agent::with_parts(config, DefaultConnector::default(), OneAddress(address));
    let mut answer = agent.get(format!("https://{host}{path}")).call().map_err(|e| e.to_string())?;
    if answer.status() != 200 {
        return Err(format!("status {}", answer.status()));
    }
    let limit_bytes = u64::try_from(PAGE_MAX_BYTES).unwrap_or(u64::MAX);
    answer.body_mut().with_config().limit(limit_bytes).read_to_string().map_err(|e| e.to_string())
}

fn roots(pem: &str) -> Result<RootCerts, String> {
    let roots = decant_shared::net::tls::pem::certificates(pem.as_bytes(), "the authority")
        .map_err(|e| e.to_string())?
        .iter()
        .map(|der| Certificate::from_der(der).to_owned())
        .collect::<Vec<_>>();
    Ok(RootCerts::Specific(Arc::new(roots)))
}

/// Resolves every name to the pod's address, because the name in the URL is only for the certificate.
#[derive(Debug)]
struct OneAddress(SocketAddr);

impl Resolver for OneAddress {
    fn resolve(&self, _: &http::Uri, _: &Config, _: NextTimeout) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let mut addresses = self.empty();
        addresses.push(self.0);
        Ok(addresses)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certificates::signer::{Signer, Usage};
    use decant_shared::net::conn::ConnError;
    use decant_shared::net::http::server::{Exchange, Limits, Server, Service};
    use decant_shared::net::tls::{pem, server};
    use decant_shared::process::stop::Stop;
    use std::net::TcpListener;
    use time::OffsetDateTime;

    const HOST: &str = "u-source-pod.metrics";

    /// Enough for a busy machine.
    const LIMIT: Duration = Duration::from_secs(20);

    struct Answers(u16, String, Duration);

    impl Service for Answers {
        fn serve(&self, exchange: &mut Exchange) -> Result<(), ConnError> {
            std::thread::sleep(self.2);
            exchange.answer(self.0, "text/plain", &self.1)
        }
    }

    /// Requests [`HOST`] from a metrics server whose certificate is for `name`.
    fn ask(name: &str, trusted: bool, answer: Answers) -> Result<String, String> {
        let signer = Signer::new("test", OffsetDateTime::now_utc()).unwrap();
        let roots = if trusted {
            signer.bundle_pem.clone()
        } else {
            Signer::new("other", OffsetDateTime::now_utc()).unwrap().bundle_pem
        };
        ask_with(&signer, Some(&roots), name, answer, LIMIT)
    }

    /// The same with a certificate of `signer`, checked against `roots`, within `limit`.
    fn ask_with(
        signer: &Signer,
        roots: Option<&str>,
        name: &str,
        answer: Answers,
        limit: Duration,
    ) -> Result<String, String> {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let now = OffsetDateTime::now_utc();
        let leaf =
            signer.issue(name, &[name.to_owned()], Usage::Server, Duration::from_secs(60), now).unwrap();
        let identity =
            pem::identity(leaf.chain_pem.as_bytes(), "chain", leaf.key_pem.as_bytes(), "key").unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let tls = server::config_without_client_auth(identity).unwrap();
        let running = Server::start(
            "test",
            listener,
            Some(tls.into()),
            Limits::default(),
            Arc::new(answer),
            Stop::new(),
        )
        .unwrap();
        let page = fetch(HOST, address, PAGE, roots, limit);
        running.shut_down(Duration::from_millis(1));
        page
    }

    fn page(text: &str) -> Answers {
        Answers(200, text.to_owned(), Duration::ZERO)
    }

    #[test]
    fn a_page_with_the_right_name_and_authority_is_read() {
        assert_eq!(ask(HOST, true, page("hello 1\n")).unwrap(), "hello 1\n");
    }

    #[test]
    fn another_authority_or_another_name_is_refused() {
        assert!(ask(HOST, false, page("")).is_err());
        assert!(ask("v-source-pod.metrics", true, page("")).is_err());
    }

    #[test]
    fn the_page_of_a_pod_without_keys_is_read_first_through_the_api_server() {
        let pod = |keys: &str| -> Pod {
            serde_json::from_value(
                serde_json::json!({ "metadata": { "annotations": { "decant.dev/keys": keys } } }),
            )
            .unwrap()
        };
        assert_eq!(ScrapeRoute::first_to(&pod("")), ScrapeRoute::Proxy);
        assert_eq!(ScrapeRoute::first_to(&pod("copy-keys")), ScrapeRoute::Direct);
        let signer = Signer::new("nobody", OffsetDateTime::now_utc()).unwrap();
        let found = ask_with(&signer, None, "v-source-pod.metrics", page("hello 1\n"), LIMIT);
        assert_eq!(found.unwrap(), "hello 1\n");
    }

    #[test]
    fn a_slow_answer_ends_with_the_limit() {
        let signer = Signer::new("test", OffsetDateTime::now_utc()).unwrap();
        let answer = Answers(200, String::new(), Duration::from_secs(3));
        let limit = Duration::from_millis(700);
        assert!(ask_with(&signer, Some(&signer.bundle_pem), HOST, answer, limit).is_err());
    }

    #[test]
    fn long_pages_and_other_statuses_are_no_news() {
        assert!(ask(HOST, true, page(&"x".repeat(PAGE_MAX_BYTES + 1))).is_err());
        assert!(ask(HOST, true, Answers(500, String::new(), Duration::ZERO)).is_err());
        assert!(ask(HOST, true, Answers(302, String::new(), Duration::ZERO)).is_err());
    }
}
