//! The memory that reviews take, from any caller.

use decant_controller::objects::webhook_configuration::{MUTATE_PATH, VALIDATE_PATH};

use crate::server::{PATIENCE, Running, answer, head, review, stranger};

const MIB: u64 = 1 << 20;
/// A little less than 3 MiB, so that the rest of a review has room.
const LARGE_BYTES: usize = (3 << 20) - 4096;

/// A figure of this process in bytes, such as `VmHWM`.
fn memory(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.trim_matches([':', ' ', '\t', 'k', 'B']).parse::<u64>().unwrap() << 10
}

/// Text of 3 MiB that repeats `item`, and is small only as text.
fn many(item: &str) -> String {
    let items = vec![item; LARGE_BYTES / (item.len() + 1)];
    items.join(",")
}

/// Other tests of this file's process take some MiB at the same time; that is part of the figure.
#[test]
fn eight_concurrent_reviews_of_3_mib_take_less_than_64_mib() {
    let webhook = Running::start(None);
    let caller = stranger();
    let annotations = |text: &str| {
        format!(
            r#"{{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":{{"uid":"1","operation":"UPDATE",
"namespace":"b","object":{{"metadata":{{"name":"x","annotations":{{{text}}}}}}}}}}}"#
        )
        .into_bytes()
    };
    for (path, body) in [
        (VALIDATE_PATH, review(&format!(r#"{{"l":[{}]}}"#, many("{}")))),
        (MUTATE_PATH, review(&format!(r#"{{"accessModes":[{}]}}"#, many(r#""""#)))),
        (MUTATE_PATH, annotations(&many(r#""a":"""#))),
        (VALIDATE_PATH, annotations(&many(r#""a":{"b":[]}"#))),
    ] {
        let before = memory("VmRSS");
        std::fs::write("/proc/self/clear_refs", "5").unwrap();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    // Without optimization parsing takes so long that some have to come back.
                    loop {
                        let said = webhook.post(&caller, path, &body).unwrap();
                        if said.starts_with("HTTP/1.1 200") {
                            break;
                        }
                        assert!(said.starts_with("HTTP/1.1 503"), "{said}");
                    }
                });
            }
        });
        let grown = memory("VmHWM").saturating_sub(before);
        assert!(grown < 64 * MIB, "8 reviews of {} bytes to {path} took {} MiB", body.len(), grown / MIB);
    }
}

#[test]
fn unfinished_large_reviews_do_not_block_other_reviews() {
    let webhook = Running::start(None);
    let caller = stranger();
    let large = review(&format!(r#"{{"l":"{}"}}"#, "x".repeat(1 << 20)));
    let silent = |count: usize| -> Vec<_> {
        let open = |_| {
            let mut conn = webhook.connect(&caller).unwrap();
            conn.write_all(head(VALIDATE_PATH, large.len()).as_bytes(), PATIENCE, "head").unwrap();
            conn.write_all(&large[..100_000], PATIENCE, "body").unwrap();
            conn
        };
        (0..count).map(open).collect()
    };
    // So many hold the two places of large reviews for longer than a review waits for one.
    let many = silent(8);
    assert!(webhook.post(&caller, VALIDATE_PATH, &review("{}")).unwrap().starts_with("HTTP/1.1 200"));
    drop(many);
    let silent = silent(2);
    assert!(webhook.post(&caller, VALIDATE_PATH, &large).unwrap().starts_with("HTTP/1.1 200"));
    for mut conn in silent {
        assert!(answer(&mut conn).unwrap().starts_with("HTTP/1.1 400"));
    }
}

#[test]
fn a_large_review_beyond_the_limit_gets_a_retry_answer() {
    let webhook = Running::start(None);
    let caller = stranger();
    let large = review(&format!(r#"{{"l":"{}"}}"#, "x".repeat(1 << 20)));
    let open = || {
        let mut conn = webhook.connect(&caller).unwrap();
        conn.write_all(head(VALIDATE_PATH, large.len()).as_bytes(), PATIENCE, "head").unwrap();
        conn.write_all(&large[..100_000], PATIENCE, "body").unwrap();
        conn
    };
    // Each pair keeps both places for three seconds; the last does not get one within five.
    let mut conns: Vec<_> = (0..8).map(|_| open()).collect();
    let said: Vec<String> = conns.iter_mut().map(|conn| answer(conn).unwrap()).collect();
    let busy: Vec<&String> = said.iter().filter(|text| text.starts_with("HTTP/1.1 503")).collect();
    assert!(busy.len() >= 2, "{said:?}");
    assert!(busy.iter().all(|text| text.contains("retry later")), "{said:?}");
}

#[test]
fn a_too_long_review_is_refused_with_and_without_content_length() {
    let webhook = Running::start(None);
    let caller = stranger();
    let mut conn = webhook.connect(&caller).unwrap();
    conn.write_all(head(MUTATE_PATH, 100 << 20).as_bytes(), PATIENCE, "head").unwrap();
    assert!(answer(&mut conn).unwrap().contains("the body has more than"));
    let mut conn = webhook.connect(&caller).unwrap();
    let chunked = format!("POST {MUTATE_PATH} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
    conn.write_all(chunked.as_bytes(), PATIENCE, "head").unwrap();
    let chunk = format!("10000\r\n{}\r\n", "x".repeat(1 << 16));
    // The server may have closed before all was sent.
    for _ in 0..64 {
        if conn.write_all(chunk.as_bytes(), PATIENCE, "body").is_err() {
            break;
        }
    }
    assert!(answer(&mut conn).unwrap_or_default().contains("the body has more than"));
}
