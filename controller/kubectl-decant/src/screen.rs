//! A block of lines on a terminal that is drawn again and again in the same place.

use std::io::{IsTerminal, Write};
use std::os::fd::AsFd;

use crate::bar::coloured;
use crate::output::is_colourful;
use decant_controller::summary::clone_summary::CloneState;

/// For terminals that do not tell.
const COLUMNS: usize = 80;
/// The same.
const ROWS: usize = 24;

/// A line and the state of the clone that it is about.
pub(super) type Line = (String, Option<CloneState>);

/// Lines on a terminal.
pub(super) struct Screen<W> {
    out: W,
    colour: bool,
    /// Lines that stand there now.
    drawn: usize,
}

impl<W: Write + IsTerminal + AsFd> Screen<W> {
    /// A screen on `out`; `None` when that is no terminal, where lines cannot be taken back.
    pub(super) fn on(out: W) -> Option<Self> {
        let colour = is_colourful(&out);
        out.is_terminal().then_some(Self { out, colour, drawn: 0 })
    }

    /// Shows `lines` instead of what was there: as many as fit, the rest as a count.
    pub(super) fn draw(&mut self, lines: &[Line]) {
        let (columns, rows) = self.size();
        let mut frame = self.back();
        // One row stays free for the cursor, one for the count.
        let room = if lines.len() < rows { lines.len() } else { rows.saturating_sub(2) };
        for (text, state) in &lines[..room] {
            let cut: String = text.chars().take(columns).collect();
            frame += &if self.colour { with_coloured_bar(&cut, *state) } else { cut };
            frame.push('\n');
        }
        self.drawn = room;
        if room < lines.len() {
            frame += &format!("... and {} more\n", lines.len() - room);
            self.drawn += 1;
        }
        self.write(&frame);
    }

    /// Takes everything back.
    pub(super) fn clear(&mut self) {
        let frame = self.back();
        self.drawn = 0;
        self.write(&frame);
    }

    /// To the first line, with nothing below.
    fn back(&self) -> String {
        if self.drawn == 0 { String::new() } else { format!("\u{1b}[{}A\u{1b}[J", self.drawn) }
    }

    fn write(&mut self, frame: &str) {
        // A terminal that is gone is no reason to fail.
        let _ = self.out.write_all(frame.as_bytes()).and_then(|()| self.out.flush());
    }

    fn size(&self) -> (usize, usize) {
        let told = rustix::termios::tcgetwinsize(&self.out).ok();
        let (columns, rows) =
            told.map_or((0, 0), |size| (usize::from(size.ws_col), usize::from(size.ws_row)));
        (if columns == 0 { COLUMNS } else { columns }, if rows == 0 { ROWS } else { rows })
    }
}

/// Colours what stands between the first pair of brackets.
pub(super) fn with_coloured_bar(line: &str, state: Option<CloneState>) -> String {
    let place = line.find('[').and_then(|start| line[start..].find(']').map(|end| (start, start + end + 1)));
    match (state, place) {
        (Some(state), Some((start, end))) => {
            format!("{}{}{}", &line[..start], coloured(&line[start..end], state), &line[end..])
        }
        _ => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_bar_has_a_colour() {
        let line = with_coloured_bar("copy [==> ] 50 %", Some(CloneState::Running));
        assert_eq!(line, "copy \u{1b}[36m[==> ]\u{1b}[0m 50 %");
        assert_eq!(with_coloured_bar("no bar", Some(CloneState::Running)), "no bar");
        assert_eq!(with_coloured_bar("cut [==", Some(CloneState::Running)), "cut [==");
    }

    #[test]
    fn a_file_is_no_screen() {
        assert!(Screen::on(tempfile::tempfile().unwrap()).is_none());
    }
}
