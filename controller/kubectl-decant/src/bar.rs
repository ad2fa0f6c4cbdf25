//! Bars made of characters.

use decant_controller::summary::clone_summary::{CloneState, CloneSummary};

/// Characters between the brackets.
const WIDTH: usize = 24;

/// `[=========>              ]`; empty while nothing is known.
pub(super) fn bar(percent: Option<f64>) -> String {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
    // 0 to WIDTH.
    let full = (percent.unwrap_or(0.0).clamp(0.0, 100.0) / 100.0 * WIDTH as f64) as usize;
    let mut text = "=".repeat(full);
    if full < WIDTH && percent.is_some_and(|percent| percent > 0.0) {
        text.push('>');
    }
    format!("[{text:WIDTH$}]")
}

/// Bar, percentage and amounts of one clone, and why it does not go on.
pub(super) fn progress(seen: &CloneSummary) -> String {
    let parts = [format!("{} {:>8}", bar(seen.percent), seen.percent_text()), seen.amounts(), seen.why()];
    let parts: Vec<&str> = parts.iter().map(String::as_str).filter(|part| !part.is_empty()).collect();
    crate::output::plain(&parts.join("  "))
}

/// `text` in the colour of its state: cyan runs, yellow waits, red failed, green is done.
pub(super) fn coloured(text: &str, state: CloneState) -> String {
    let colour = match state {
        CloneState::Running => 36,
        CloneState::Waiting => 33,
        CloneState::Failed => 31,
        CloneState::Succeeded => 32,
    };
    format!("\u{1b}[{colour}m{text}\u{1b}[0m")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_as_long_as_the_percentage_says_and_always_as_wide() {
        assert_eq!(bar(None), "[                        ]");
        assert_eq!(bar(Some(0.0)), "[                        ]");
        assert_eq!(bar(Some(0.1)), "[>                       ]");
        assert_eq!(bar(Some(50.0)), "[============>           ]");
        assert_eq!(bar(Some(99.99)), "[=======================>]");
        assert_eq!(bar(Some(100.0)), "[========================]");
    }
}
