//! Printing: objects as JSON and YAML, tables, and messages. A closed pipe is not a failure.

use std::io::{self, IsTerminal, Write};

use serde::Serialize;

use crate::args::Output;
use crate::ending::{Ending, Failure};

/// Prints a line on standard output.
pub(super) fn print_line(line: &str) {
    let _ = writeln!(io::stdout(), "{line}");
}

/// Prints a line on standard error.
pub(super) fn print_error(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// Prints `data` as a document on standard output.
pub(super) fn print<T: Serialize>(output: Output, data: &T) -> Result<(), Failure> {
    let text = match output {
        Output::Json => serde_json::to_string_pretty(data).map_err(|e| e.to_string()),
        Output::Yaml => serde_saphyr::to_string(data).map_err(|e| e.to_string()),
    };
    print_line(text.map_err(|e| Failure::new(Ending::Failed, e))?.trim_end());
    Ok(())
}

/// Prints `data` as one of several documents.
pub(super) fn print_next<T: Serialize>(output: Output, data: &T) -> Result<(), Failure> {
    match output {
        Output::Json => {
            print_line(
                &serde_json::to_string(data).map_err(|e| Failure::new(Ending::Failed, e.to_string()))?,
            );
            Ok(())
        }
        Output::Yaml => {
            print_line("---");
            print(output, data)
        }
    }
}

/// Rows with aligned columns; the last column is not padded.
pub(super) fn table(rows: &[Vec<String>]) -> Vec<String> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}   "));
        cells.collect::<String>().trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

/// Whether to print colours on `stream`.
pub(super) fn is_colourful(stream: &impl IsTerminal) -> bool {
    let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    stream.is_terminal() && !is_set("NO_COLOR") && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// Text from the cluster without control characters, which could change the terminal.
pub(super) fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let row = |cells: [&str; 3]| cells.map(str::to_owned).to_vec();
        let lines = table(&[row(["NAME", "PHASE", "WHY"]), row(["a-long-name", "é", ""])]);
        assert_eq!(lines, ["NAME          PHASE   WHY", "a-long-name   é"]);
    }

    #[test]
    fn a_message_cannot_move_the_cursor() {
        assert_eq!(plain("a\u{1b}[2Jb\nc\u{9b}"), "a [2Jb c ");
    }
}
