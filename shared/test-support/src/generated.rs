//! Tables of `docs/operations.md` that are rendered from the code.

use std::path::Path;

/// Compares each region between `<!-- generated: NAME -->` and `<!-- end -->` with the table of that name. With the environment
/// variable `GOLDEN=write` it rewrites the regions instead. `rerun` is the command for that, which the panic shows.
///
/// # Panics
///
/// If a region is missing or a table differs.
pub fn check(tables: &[(&str, String)], rerun: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/operations.md");
    let mut page = std::fs::read_to_string(&path).unwrap();
    let writes = std::env::var_os("GOLDEN").is_some_and(|value| value == "write");
    for (name, table) in tables {
        let mark = format!("<!-- generated: {name} -->\n");
        let start = page.find(&mark).unwrap_or_else(|| panic!("docs/operations.md lacks {}", mark.trim()))
            + mark.len();
        let end = start + page[start..].find("<!-- end -->").expect("docs/operations.md lacks <!-- end -->");
        if writes {
            page.replace_range(start..end, &format!("\n{table}\n"));
        } else {
            assert_eq!(
                page[start..end].trim(),
                table.trim(),
                "table {name}: GOLDEN=write {rerun} rewrites it"
            );
        }
    }
    if writes {
        std::fs::write(path, page).unwrap();
    }
}

/// A Markdown table with these headings.
pub fn table(head: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let heads: Vec<String> = head.iter().map(|cell| (*cell).to_owned()).collect();
    let mut text = line(&heads) + &format!("|{}\n", "---|".repeat(head.len()));
    rows.into_iter().for_each(|row| text.push_str(&line(&row)));
    text
}
