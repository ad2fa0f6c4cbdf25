//! Progress as text: written for people, and read back from a status.

use decant_shared::protocol::units::{Bytes, Rate, Seconds};

/// `12.34%` and `100.0%` as a number from 0 to 100; `None` for `N/A` and all else.
pub fn percent(progress: &str) -> Option<f64> {
    let number = progress.strip_suffix('%')?.parse::<f64>().ok()?;
    number.is_finite().then(|| number.clamp(0.0, 100.0))
}

/// How much of how much, how fast, for how long: for people. Empty while nothing is known.
pub fn amounts(sent: Option<u64>, total: Option<u64>, rate: Option<u64>, left_secs: Option<u64>) -> String {
    let (Some(sent), Some(total)) = (sent, total) else { return String::new() };
    let mut text = format!("{} of {}", Bytes(sent), Bytes(total));
    if let Some(rate) = rate.filter(|rate| *rate > 0) {
        text += &format!(", {}", Rate(rate));
    }
    if let Some(left) = left_secs {
        text += &format!(", {} left", Seconds(left));
    }
    text
}
