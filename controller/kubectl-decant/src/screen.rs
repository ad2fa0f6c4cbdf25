//! Progress on a terminal: bars made of characters, and a block of lines that is redrawn in place.

use std::io::{IsTerminal, Write};
use std::os::fd::AsFd;

use crate::output::{is_colourful, plain};
use decant_controller::summary::clone_summary::{CloneState, CloneSummary};

/// Characters between the brackets of a bar.
const BAR_WIDTH: usize = 24;
/// The width of a terminal of unknown size.
const COLUMNS: usize = 80;
/// The height of a terminal of unknown size.
const ROWS: usize = 24;

/// A line of text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) text: String,
    /// The state of the clone that the line is about: the colour of its bar.
    pub(super) state: Option<CloneState>,
}

impl Line {
    /// The line with a coloured bar: the text between the first pair of brackets.
    pub(super) fn coloured(&self) -> String {
        let text = &self.text;
        let start = text.find('[');
        let end = start.and_then(|start| text[start..].find(']').map(|length| start + length + 1));
        match (self.state, start, end) {
            (Some(state), Some(start), Some(end)) => {
                let colour = colour(state);
                format!("{}\u{1b}[{colour}m{}\u{1b}[0m{}", &text[..start], &text[start..end], &text[end..])
            }
            _ => text.clone(),
        }
    }
}

/// ANSI colours: cyan, yellow, red, green.
fn colour(state: CloneState) -> u8 {
    match state {
        CloneState::Running => 36,
        CloneState::Waiting => 33,
        CloneState::Failed => 31,
        CloneState::Succeeded => 32,
    }
}

/// `[=========>              ]`; empty while the percentage is unknown.
fn bar(percent: Option<f64>) -> String {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
    // 0 to BAR_WIDTH.
    let full = (percent.unwrap_or(0.0).clamp(0.0, 100.0) / 100.0 * BAR_WIDTH as f64) as usize;
    let mut text = "=".repeat(full);
    if full < BAR_WIDTH && percent.is_some_and(|percent| percent > 0.0) {
        text.push('>');
    }
    format!("[{text:BAR_WIDTH$}]")
}

/// Bar, percentage and amounts of a clone, and why it waits or failed.
pub(super) fn progress(summary: &CloneSummary) -> String {
    let parts =
        [format!("{} {:>8}", bar(summary.percent), summary.percent_text()), summary.amounts(), summary.why()];
    let parts: Vec<&str> = parts.iter().map(String::as_str).filter(|part| !part.is_empty()).collect();
    plain(&parts.join("  "))
}

/// Lines on a terminal.
pub(super) struct Screen<W> {
    out: W,
    colour: bool,
    /// Lines that the terminal shows now.
    drawn: usize,
}

impl<W: Write + IsTerminal + AsFd> Screen<W> {
    /// A screen on `out`; `None` if that is not a terminal, where lines cannot be replaced.
    pub(super) fn on(out: W) -> Option<Self> {
        let colour = is_colourful(&out);
        out.is_terminal().then_some(Self { out, colour, drawn: 0 })
    }

    /// Replaces the previous lines with `lines`: as many as fit, then the number of the others.
    pub(super) fn draw(&mut self, lines: &[Line]) {
        let (columns, rows) = self.size();
        let mut frame = self.back();
        // One row stays free for the cursor, one for the number.
        let fitting = if lines.len() < rows { lines.len() } else { rows.saturating_sub(2) };
        for line in &lines[..fitting] {
            let cut = Line { text: line.text.chars().take(columns).collect(), state: line.state };
            frame += &if self.colour { cut.coloured() } else { cut.text };
            frame.push('\n');
        }
        self.drawn = fitting;
        if fitting < lines.len() {
            frame += &format!("... and {} more\n", lines.len() - fitting);
            self.drawn += 1;
        }
        self.write(&frame);
    }

    /// Removes all lines.
    pub(super) fn clear(&mut self) {
        let frame = self.back();
        self.drawn = 0;
        self.write(&frame);
    }

    /// Moves the cursor to the first line and clears everything below.
    fn back(&self) -> String {
        if self.drawn == 0 { String::new() } else { format!("\u{1b}[{}A\u{1b}[J", self.drawn) }
    }

    fn write(&mut self, frame: &str) {
        // A closed terminal is not a failure.
        let _ = self.out.write_all(frame.as_bytes()).and_then(|()| self.out.flush());
    }

    /// Columns and rows.
    fn size(&self) -> (usize, usize) {
        let size = rustix::termios::tcgetwinsize(&self.out).ok();
        let known = |cells: u16, default: usize| if cells == 0 { default } else { usize::from(cells) };
        size.map_or((COLUMNS, ROWS), |size| (known(size.ws_col, COLUMNS), known(size.ws_row, ROWS)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_grows_with_the_percentage_and_keeps_its_width() {
        assert_eq!(bar(None), "[                        ]");
        assert_eq!(bar(Some(0.0)), "[                        ]");
        assert_eq!(bar(Some(0.1)), "[>                       ]");
        assert_eq!(bar(Some(50.0)), "[============>           ]");
        assert_eq!(bar(Some(99.99)), "[=======================>]");
        assert_eq!(bar(Some(100.0)), "[========================]");
    }

    #[test]
    fn only_the_bar_is_coloured() {
        let coloured =
            |text: &str| Line { text: text.to_owned(), state: Some(CloneState::Running) }.coloured();
        assert_eq!(coloured("copy [==> ] 50 %"), "copy \u{1b}[36m[==> ]\u{1b}[0m 50 %");
        assert_eq!(coloured("no bar"), "no bar");
        assert_eq!(coloured("cut [=="), "cut [==");
    }

    #[test]
    fn a_file_is_not_a_screen() {
        assert!(Screen::on(tempfile::tempfile().unwrap()).is_none());
    }
}
