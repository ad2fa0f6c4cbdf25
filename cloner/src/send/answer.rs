//! What a target's answer, or its silence, means: statuses and broken connections in words.

use decant_shared::net::conn::ConnError;
use decant_shared::net::tls::validity::rfc3339;
use decant_shared::process::printable::Escaped;
use decant_shared::protocol::cdi::{ContentType, RENEWED_KEYS_VARIABLE};
use rustls::pki_types::UnixTime;
use time::OffsetDateTime;

use crate::error::{Error, Kind, Result};
use crate::send::request::Request;
use crate::send::url::UploadUrl;

/// Of a target's reason: more than any of ours has, and of CDI's.
const REASON_CHARACTERS: usize = 500;

/// The answer to a request whose body was not sent completely. It can only be a refusal, but for one case:
/// CDI's receiver takes `disk.img` out of a filesystem clone for a block volume, answers without reading the
/// rest (contract 1.8) and resets the connection soon after. A target of ours always reads everything.
pub fn judge_early(request: &Request<'_>, status: u16, text: &str) -> Result<()> {
    let may_be_enough = request.content == ContentType::Filesystem && !request.is_for_ours();
    match status {
        200..=299 if may_be_enough => {
            log::warn!("the target answered before it had read everything: it keeps nothing but disk.img");
            Ok(())
        }
        200..=299 => Err(Error::new(
            Kind::Refused(status),
            format!("the target answered {status} before it had all the data; the clone is not complete"),
        )),
        _ => Err(refused(status, text)),
    }
}

/// The target's refusal in words. The statuses are those of contract 2.4.
pub fn refused(status: u16, text: &str) -> Error {
    let meaning = match status {
        401 => "it does not accept the name in our certificate (its CLIENT_NAME)",
        404 => "there is nothing to upload to at this path",
        409 => "it has already received its clone",
        503 => "it takes nothing now",
        _ => "",
    };
    let shown = Escaped::truncated(text, REASON_CHARACTERS).to_string();
    let words = match (meaning, shown.as_str()) {
        ("", "") => String::new(),
        (meaning, "") => format!(": {meaning}"),
        ("", text) => format!(": {text}"),
        (meaning, text) => format!(": {meaning}: {text}"),
    };
    Error::new(Kind::Refused(status), format!("the target answered {status}{words}"))
}

/// A broken connection in words.
pub fn explain(fault: ConnError, url: &UploadUrl) -> Error {
    use rustls::{AlertDescription as Alert, CertificateError, Error as Tls};
    let place = url.authority();
    match fault {
        ConnError::Stopped(reason) => Error::stopped(reason),
        ConnError::TimedOut(doing, limit) => Error::new(
            Kind::Stalled,
            format!("the target at {place} made no progress for {} s ({doing})", limit.as_secs()),
        ),
        ConnError::HungUp(why) => {
            Error::new(Kind::HungUp, format!("the target at {place} hung up without an answer: {why}"))
        }
        ConnError::Tls(Tls::InvalidCertificate(CertificateError::ExpiredContext { time, not_after })) => {
            Error::new(
                Kind::Identity,
                format!(
                    "the certificate of the target at {place} expired at {}, {} s ago: it has to be renewed there \
                 (TLS_CERT_FILE or {RENEWED_KEYS_VARIABLE} of the target)",
                    moment(not_after),
                    time.as_secs().saturating_sub(not_after.as_secs()),
                ),
            )
        }
        ConnError::Tls(Tls::InvalidCertificate(why)) => Error::new(
            Kind::Identity,
            format!(
                "the certificate of the target at {place} is not trusted: {why} (SERVER_CA_CERT decides)"
            ),
        ),
        ConnError::Tls(Tls::AlertReceived(
            alert @ (Alert::UnknownCA
            | Alert::BadCertificate
            | Alert::CertificateExpired
            | Alert::CertificateRevoked
            | Alert::CertificateUnknown
            | Alert::UnsupportedCertificate
            | Alert::CertificateRequired
            | Alert::DecryptError
            | Alert::AccessDenied),
        )) => Error::new(
            Kind::Identity,
            format!(
                "the target at {place} does not trust our certificate: {alert:?} (CLIENT_CERT and CLIENT_KEY)"
            ),
        ),
        // Nothing is wrong with either end: a connection that is as good as cut.
        ConnError::Tls(
            error @ (Tls::DecryptError
            | Tls::AlertReceived(Alert::BadRecordMac | Alert::DecodeError | Alert::RecordOverflow)),
        ) => Error::new(
            Kind::HungUp,
            format!("what went between here and the target at {place} was damaged on its way: {error}"),
        ),
        ConnError::Tls(error) => {
            Error::new(Kind::Identity, format!("TLS with the target at {place}: {error}"))
        }
    }
}

/// A moment of TLS in words, or as seconds since 1970 if no calendar has it.
fn moment(time: UnixTime) -> String {
    let known =
        i64::try_from(time.as_secs()).ok().and_then(|secs| OffsetDateTime::from_unix_timestamp(secs).ok());
    known.map_or_else(|| format!("{} s after 1970", time.as_secs()), rfc3339)
}
