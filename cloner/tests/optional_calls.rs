//! `docs/specification.md` says, under "Optional system calls", what the table in `optional.rs` says.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

use std::fs;
use std::path::Path;

use decant_cloner::volume::optional_calls::{Call, Class, Verdict};
use rustix::io::Errno;

fn word(verdict: Verdict) -> String {
    match verdict {
        Verdict::Continue => "continue".to_owned(),
        Verdict::NotKept(kind) => format!("not kept: {}", kind.word()),
        Verdict::Fail => "fail".to_owned(),
    }
}

fn name(errno: Errno) -> &'static str {
    match errno {
        Errno::NOSYS => "ENOSYS",
        Errno::OPNOTSUPP => "EOPNOTSUPP",
        Errno::INVAL => "EINVAL",
        Errno::NOTTY => "ENOTTY",
        Errno::PERM => "EPERM",
        Errno::ACCESS => "EACCES",
        Errno::ROFS => "EROFS",
        Errno::NOENT => "ENOENT",
        Errno::STALE => "ESTALE",
        Errno::IO => "EIO",
        Errno::NOSPC => "ENOSPC",
        Errno::DQUOT => "EDQUOT",
        Errno::OVERFLOW => "EOVERFLOW",
        Errno::RANGE => "ERANGE",
        Errno::TOOBIG => "E2BIG",
        Errno::NODATA => "ENODATA",
        Errno::BADF => "EBADF",
        Errno::ISDIR => "EISDIR",
        Errno::NODEV => "ENODEV",
        Errno::TXTBSY => "ETXTBSY",
        Errno::REMOTEIO => "EREMOTEIO",
        Errno::BUSY => "EBUSY",
        Errno::NOLCK => "ENOLCK",
        Errno::XDEV => "EXDEV",
        Errno::NAMETOOLONG => "ENAMETOOLONG",
        Errno::AGAIN => "EAGAIN",
        Errno::SPIPE => "ESPIPE",
        other => panic!("{other:?} has no name here"),
    }
}

/// The row of a call, up to its last column, which is prose.
fn row(call: Call) -> String {
    let mut cells = vec![call.title().to_owned()];
    for (_, errors) in Class::COLUMNS {
        let of_class = |errno: &&Errno| !call.named().iter().any(|(named, _)| named == *errno);
        cells.push(word(call.verdict(**errors.iter().filter(of_class).collect::<Vec<_>>().first().unwrap())));
    }
    let named: Vec<_> =
        call.named().iter().map(|&(errno, verdict)| format!("{} {}", name(errno), word(verdict))).collect();
    cells.push(if named.is_empty() { "fail".to_owned() } else { format!("{}; else fail", named.join(", ")) });
    if call.never_matters() {
        *cells.last_mut().unwrap() = "continue".to_owned();
    }
    format!("| {} |", cells.join(" | "))
}

/// The section about optional system calls.
fn section() -> String {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/specification.md");
    let page = fs::read_to_string(page).unwrap();
    page.split_once("\n## Optional system calls\n").expect("the section is there").1.to_owned()
}

#[test]
fn the_page_matches_the_table_in_the_code() {
    let page = section();
    let rows: Vec<_> = Call::ALL.into_iter().map(row).collect();
    let missing: Vec<_> = rows.iter().filter(|row| !page.contains(row.as_str())).collect();
    assert!(missing.is_empty(), "docs/specification.md needs:\n{}", rows.join("\n"));
    let told = page.lines().filter(|line| line.starts_with("| `")).count();
    assert_eq!(told, rows.len(), "a row of the page has no call");
}

#[test]
fn the_page_lists_every_error_of_each_class() {
    let page = section();
    for (_, errors) in Class::COLUMNS {
        let list: Vec<_> = errors.iter().map(|&errno| name(errno)).collect();
        assert!(page.contains(&list.join(", ")), "{list:?}");
    }
}
