//! Interprets a target's answer or a broken connection.

use std::borrow::Cow;

use decant_shared::net::conn::ConnError;
use decant_shared::net::tls::validity::rfc3339;
use decant_shared::process::printable::{Escaped, escaped};
use decant_shared::protocol::cdi::{ContentType, RENEWED_KEYS_VARIABLE};
use rustls::pki_types::UnixTime;
use time::OffsetDateTime;

use crate::error::{Error, Kind, Result};
use crate::send::request::Request;
use crate::send::url::UploadUrl;

/// The maximum number of characters of a target's reason that are shown. Every reason of Decant and of CDI is shorter.
const REASON_CHARACTERS: usize = 500;

/// A final answer.
#[derive(Debug)]
pub(super) struct Answer {
    /// The HTTP status.
    pub(super) status: u16,
    /// The body of the answer, or the beginning of it.
    pub(super) text: Vec<u8>,
}

impl Answer {
    /// The text as lines.
    pub(super) fn text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.text)
    }

    /// The text on one line, without control characters.
    fn line(&self) -> String {
        escaped(&self.text().trim().replace(['\r', '\n'], " "))
    }
}

/// Judges the answer to an upload that was sent completely. Returns its text if the clone succeeded.
pub(super) fn judge_final(answer: &Answer) -> Result<String> {
    match answer.status {
        200..=299 => Ok(answer.line()),
        _ => Err(refused(answer)),
    }
}

/// Judges the answer to a request whose body was not sent completely. It can only be a refusal, with one exception: to
/// clone a filesystem to a block volume, CDI's receiver takes `disk.img` from the archive, answers without reading the
/// rest (docs/protocol.md section 1.8), and resets the connection soon after. A Decant target always reads everything.
pub(super) fn judge_early(request: &Request<'_>, answer: &Answer) -> Result<()> {
    let may_be_enough = request.content == ContentType::Filesystem && !request.is_for_decant();
    match answer.status {
        200..=299 if may_be_enough => {
            log::warn!("the target answered before it had all the data: it keeps nothing but disk.img");
            Ok(())
        }
        status @ 200..=299 => Err(Error::new(
            Kind::Refused(status),
            format!("the target answered {status} before it had all the data; the clone is not complete"),
        )),
        _ => Err(refused(answer)),
    }
}

/// The error for a refusal, with the meaning of its status (docs/protocol.md section 2.4) and the target's reason.
pub(super) fn refused(answer: &Answer) -> Error {
    let status = answer.status;
    let meaning = match status {
        401 => "it does not accept the name in our certificate (its CLIENT_NAME)",
        404 => "it has no upload service at this path",
        409 => "it has already received its clone",
        503 => "it is busy",
        _ => "",
    };
    let reason = Escaped::truncated(&answer.line(), REASON_CHARACTERS).to_string();
    let parts = [meaning, reason.as_str()];
    let why: String = parts.iter().filter(|part| !part.is_empty()).flat_map(|part| [": ", part]).collect();
    Error::new(Kind::Refused(status), format!("the target answered {status}{why}"))
}

/// The error for a connection that broke.
pub(super) fn explain(fault: ConnError, url: &UploadUrl) -> Error {
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
                    "the certificate of the target at {place} expired at {}, {} s ago; renew it there \
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
        // Neither end is faulty: this counts as a broken connection.
        ConnError::Tls(
            error @ (Tls::DecryptError
            | Tls::AlertReceived(Alert::BadRecordMac | Alert::DecodeError | Alert::RecordOverflow)),
        ) => Error::new(
            Kind::HungUp,
            format!("the data between here and the target at {place} was damaged on its way: {error}"),
        ),
        ConnError::Tls(error) => {
            Error::new(Kind::Identity, format!("TLS with the target at {place}: {error}"))
        }
    }
}

/// A TLS time as date and time, or as seconds since 1970 if it is outside the calendar.
fn moment(time: UnixTime) -> String {
    let known =
        i64::try_from(time.as_secs()).ok().and_then(|secs| OffsetDateTime::from_unix_timestamp(secs).ok());
    known.map_or_else(|| format!("{} s after 1970", time.as_secs()), rfc3339)
}
