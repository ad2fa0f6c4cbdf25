//! A source that changes, or cannot be read, while it is archived.

use std::fs::{self, File, Permissions};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use decant_cloner::error::{Kind, Result};
use decant_cloner::stream::{Purpose, Run, Sink};
use decant_shared::process::stop::Stop;

use crate::tree::{SPARSE, Tree, tick};

/// A sink that does something when a file's content is asked for.
struct ModifyingSink<F: FnMut(&Path)>(F);

impl<F: FnMut(&Path)> Sink for ModifyingSink<F> {
    fn write(&mut self, _: Purpose, run: Run<'_>) -> Result<()> {
        if let Run::File(range) = run {
            (self.0)(range.path);
        }
        Ok(())
    }
}

/// The error of writing when `modify` is called for each file that is read.
fn failure(tree: &Tree, modify: impl FnMut(&Path)) -> (Kind, String) {
    let plan = tree.scan(SPARSE).unwrap();
    let error = tree.write(SPARSE, &plan, &mut ModifyingSink(modify)).unwrap_err();
    (error.kind(), error.to_string())
}

#[test]
fn a_file_that_grows_while_it_is_read_is_named() {
    let tree = Tree::new();
    tree.file("log", "line");
    let (kind, text) = failure(&tree, |path| {
        File::options().append(true).open(path).unwrap().write_all(b"more").unwrap();
    });
    assert_eq!(kind, Kind::SourceChanged);
    assert!(text.contains("log"), "{text}");
}

#[test]
fn a_file_rewritten_in_place_while_it_is_read_is_named() {
    let tree = Tree::new();
    tree.file("data", "one");
    let (kind, text) = failure(&tree, |path| {
        tick();
        File::options().write(true).open(path).unwrap().write_all(b"two").unwrap();
    });
    assert_eq!(kind, Kind::SourceChanged);
    assert!(text.contains("data"), "{text}");
}

#[test]
fn a_directory_that_gains_an_entry_after_listing_is_named() {
    let tree = Tree::new();
    tree.directory("sub");
    tree.file("sub/a", "content");
    let (kind, text) = failure(&tree, |path| {
        tick();
        fs::write(path.with_file_name("late"), "late").unwrap();
    });
    assert_eq!(kind, Kind::SourceChanged);
    assert!(text.contains("names were added to or removed from") && text.contains("sub"), "{text}");
}

#[test]
fn an_entry_added_after_the_scan_is_named() {
    let tree = Tree::new();
    tree.file("a", "x");
    tree.directory("b");
    let (kind, text) = failure(&tree, |path| {
        if path.ends_with("a") {
            fs::write(path.with_file_name("b/new"), "y").unwrap();
        }
    });
    assert_eq!(kind, Kind::SourceChanged);
    assert!(text.ends_with(r#"changed while it was read: "b/new" was added"#), "{text}");
}

#[test]
fn an_entry_removed_after_the_scan_is_a_source_change() {
    let tree = Tree::new();
    tree.file("a", "x");
    tree.file("b", "x");
    let remove = |path: &Path| {
        let _ = fs::remove_file(path.with_file_name("b"));
    };
    assert_eq!(failure(&tree, remove).0, Kind::SourceChanged);
}

#[test]
fn the_directory_of_an_entry_removed_before_listing_is_named() {
    for (removed, arguments) in [
        ("b/x", r#"an entry after "b" and before "b/y" was removed"#),
        ("b/y", r#"1 of its entries after "b/x" were removed"#),
    ] {
        let tree = Tree::new();
        tree.file("a", "x");
        tree.directory("b");
        tree.file("b/x", "x");
        tree.file("b/y", "x");
        let (kind, text) = failure(&tree, |path| {
            if path.ends_with("a") {
                fs::remove_file(path.with_file_name(removed)).unwrap();
            }
        });
        assert_eq!(kind, Kind::SourceChanged);
        assert!(text.ends_with(arguments), "{text}");
    }
}

#[test]
fn a_file_resized_after_the_scan_is_named_with_the_change() {
    let tree = Tree::new();
    tree.file("a", "x");
    tree.directory("b");
    tree.file("b/log", "x");
    let (kind, text) = failure(&tree, |path| {
        if path.ends_with("a") {
            fs::write(path.with_file_name("b/log"), "longer").unwrap();
        }
    });
    assert_eq!(kind, Kind::SourceChanged);
    assert!(text.ends_with(r#"the size of "b/log" changed"#), "{text}");
}

#[test]
fn a_file_replaced_by_one_with_equal_size_and_time_is_named() {
    let tree = Tree::new();
    tree.file("a", "x");
    tree.directory("d");
    tree.file("d/b", "old");
    let time = fs::metadata(tree.path("d/b")).unwrap().modified().unwrap();
    let (kind, text) = failure(&tree, |path| {
        if path.ends_with("a") {
            tick();
            let new = path.with_file_name("new");
            fs::write(&new, "new").unwrap();
            File::options().write(true).open(&new).unwrap().set_modified(time).unwrap();
            fs::rename(&new, path.with_file_name("d/b")).unwrap();
        }
    });
    assert_eq!(kind, Kind::SourceChanged);
    assert!(text.ends_with(r#""d/b" was replaced"#), "{text}");
}

#[test]
fn an_entry_replaced_after_the_scan_is_a_change_at_an_equal_count() {
    let tree = Tree::new();
    tree.file("a", "x");
    tree.directory("d");
    tree.file("d/b", "old");
    let replace = |path: &Path| {
        if path.ends_with("a") {
            tick();
            fs::write(path.with_file_name("d/new"), "new").unwrap();
            fs::rename(path.with_file_name("d/new"), path.with_file_name("d/b")).unwrap();
        }
    };
    let (kind, text) = failure(&tree, replace);
    assert_eq!(kind, Kind::SourceChanged);
    assert!(text.ends_with(r#"changed while it was read: "d/b" was written to"#), "{text}");
}

#[test]
fn a_file_replaced_by_a_fifo_or_symlink_neither_blocks_nor_is_followed() {
    for fifo in [true, false] {
        let tree = Tree::new();
        tree.file("a", "x");
        tree.file("b", "secret");
        let swap = |path: &Path| {
            let b = path.with_file_name("b");
            fs::remove_file(&b).unwrap();
            if fifo {
                assert!(Command::new("mkfifo").arg(&b).status().unwrap().success());
            } else {
                symlink("/etc/passwd", &b).unwrap();
            }
        };
        let (kind, text) = failure(&tree, swap);
        assert_eq!(kind, Kind::SourceChanged);
        assert!(text.contains("/b was replaced"), "{text}");
    }
}

#[test]
fn an_unreadable_file_or_directory_is_named() {
    for name in ["locked file", "locked folder"] {
        let tree = Tree::new();
        tree.directory("from");
        tree.directory("to");
        if name == "locked file" {
            tree.file(format!("from/{name}"), "x");
        } else {
            tree.directory(format!("from/{name}"));
        }
        for (path, mode) in [("", 0o755), ("to", 0o777), (&format!("from/{name}"), 0o000)] {
            fs::set_permissions(tree.path(path), Permissions::from_mode(mode)).unwrap();
        }
        let ended = without_privileges(&tree).args(["copy", "from", "to/new"]).output().unwrap();
        let text = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.code(), Some(3), "{text}");
        assert!(text.contains("cannot open") && text.contains(name), "{text}");
        assert!(!tree.path("to/new").exists());
    }
}

/// The cloner, to be run in `tree` as a user who may not read every file.
fn without_privileges(tree: &Tree) -> Command {
    let mut command = if rustix::process::geteuid().is_root() {
        // The build directory may be unreadable for that user. `cp` instead of std::fs: a file that another
        // test's child inherits while it is open for writing cannot be run.
        let program = tree.path("cloner");
        let copied = Command::new("cp").arg(env!("CARGO_BIN_EXE_cloner")).arg(&program).status();
        assert!(copied.unwrap().success(), "cp");
        fs::set_permissions(&program, Permissions::from_mode(0o755)).unwrap();
        let mut command = Command::new(program);
        command.uid(65_534).gid(65_534);
        command
    } else {
        Command::new(env!("CARGO_BIN_EXE_cloner"))
    };
    command.env_clear().current_dir(tree.0.path());
    command
}

#[test]
fn an_unreadable_lost_and_found_is_ignored() {
    let tree = Tree::new();
    tree.directory("lost+found");
    fs::set_permissions(tree.path("lost+found"), Permissions::from_mode(0o000)).unwrap();
    assert_eq!(tree.archive(SPARSE), vec![0; 10_240]);
}

#[test]
fn a_file_truncated_while_it_is_read_is_a_source_change() {
    let tree = Tree::new();
    tree.file("a", vec![1; 9000]);
    let cut = |path: &Path| File::options().write(true).open(path).unwrap().set_len(10).unwrap();
    assert_eq!(failure(&tree, cut).0, Kind::SourceChanged);
}

/// Filesystems may report other holes later (delayed allocation, compression) although nothing changed.
#[test]
fn holes_moved_after_the_scan_are_not_a_source_change() {
    let tree = Tree::new();
    tree.sparse("file", 1 << 20, [0]);
    let plan = tree.scan(SPARSE).unwrap();
    let file = File::options().write(true).open(tree.path("file")).unwrap();
    let modified = file.metadata().unwrap().modified().unwrap();
    file.write_all_at(&[0; 65_536], 1 << 19).unwrap();
    file.set_modified(modified).unwrap();
    let mut stream = Vec::new();
    let totals = tree.write(SPARSE, &plan, &mut stream).unwrap();
    assert_eq!(totals.stream_bytes, stream.len() as u64);
    assert!(totals.stream_bytes > plan.stream_bytes);
    assert_eq!(totals.entries, plan.entries);
}

#[test]
fn packing_stops_between_entries() {
    let tree = Tree::new();
    tree.file("a", "x");
    tree.file("b", "x");
    let plan = tree.scan(SPARSE).unwrap();
    let stop = Stop::new();
    let mut files = 0;
    let mut sink = ModifyingSink(|_: &Path| {
        files += 1;
        stop.by_signal(15);
    });
    let path = tree.0.path();
    let error =
        decant_cloner::volume::tree::read::write_archive(&tree.root(), path, SPARSE, &plan, &mut sink, &stop)
            .unwrap_err();
    assert_eq!(error.kind(), Kind::Signal(15));
    assert_eq!(files, 1);
}

#[test]
fn a_file_with_a_write_lease_is_read_after_the_lease_ends() {
    // Gives the lease back a moment after it is asked for it, as Samba does.
    const HOLDER: &str = r#"
import fcntl, os, signal, sys, time
file = os.open(sys.argv[1], os.O_RDWR)
def give_back(*_):
    time.sleep(0.5)
    fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    os._exit(0)
signal.signal(signal.SIGIO, give_back)
fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK)
print("held", flush=True)
time.sleep(60)
os._exit(1)
"#;
    let tree = Tree::new();
    tree.file("a", "x");
    tree.file("leased", "content");
    let mut command = Command::new("python3");
    command.args(["-c", HOLDER]).arg(tree.path("leased")).stdout(Stdio::piped());
    let mut holder = command.spawn().unwrap();
    let mut said = String::new();
    BufReader::new(holder.stdout.take().unwrap()).read_line(&mut said).unwrap();
    assert_eq!(said, "held\n");
    let stream = tree.archive(SPARSE);
    assert!(stream.windows(7).any(|window| window == b"content"));
    assert!(holder.wait().unwrap().success(), "it was never asked");
}
