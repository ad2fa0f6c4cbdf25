//! What the metrics page says in each phase of a clone (docs/protocol.md sections 1.12 and 1.13).

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Instant;

use crossbeam_channel::bounded;
use decant_test_support::able;
use decant_test_support::certificates::Pki;
use decant_test_support::{HANG, noise};

use super::image::Image;
use super::process::{OWNER_UID, Source};
use super::scrape::{ask, known_percent, page, page_when, percent, samples, slow_scraper};
use super::target::{Closed, Target};

#[test]
fn both_series_start_at_zero() {
    let (closed, image) = (Closed::new(), Image::with(b"content"));
    let source = Source::new(&Pki::new(), &closed.url()).block(&image.path());
    let mut running = source.env("DECANT_RETRY_SECS", "600").start();
    let port = running.metrics_port();
    running.wait_for_line("trying again");
    let page = page_when(port, |page| known_percent(page).is_some());
    for line in [
        "# TYPE kubevirt_cdi_clone_progress_total counter".to_owned(),
        format!("kubevirt_cdi_clone_progress_total{{ownerUID=\"{OWNER_UID}\"}} 0.00"),
        format!("clone_progress{{ownerUID=\"{OWNER_UID}\"}} 0.00"),
        "decant_stream_size_bytes 7".to_owned(),
    ] {
        assert!(page.lines().any(|found| found == line), "{line} in\n{page}");
    }
}

#[test]
fn the_percentage_only_grows_while_the_target_reads() {
    let pki = Pki::new();
    let (read_on, permission) = bounded(0);
    let target = Target::start(pki.server(), move |server| {
        let mut connection = server.accept();
        connection.head();
        let mut more = true;
        while more {
            permission.recv_timeout(HANG).unwrap();
            more = connection.read_part_of_body(8 << 20);
        }
        connection.answer(200, "");
        connection.close_notify();
    });
    let image = Image::large();
    let mut running = Source::new(&pki, &target.url).block(&image.path()).start();
    let port = running.metrics_port();
    let mut percentages: Vec<f64> = Vec::new();
    while read_on.send_timeout((), HANG).is_ok() {
        // As long as the target has data left to read, the clone cannot be complete.
        if percentages.len() < 3 {
            let before = percentages.last().copied().unwrap_or(-1.0);
            let parsed = |page: &str| known_percent(page).map_or(-1.0, |percent| percent.parse().unwrap());
            percentages.push(parsed(&page_when(port, |page| parsed(page) > before)));
        }
    }
    running.wait().assert_done();
    target.join();
    assert!(percentages.is_sorted(), "{percentages:?}");
    assert!(percentages.first() < percentages.last(), "{percentages:?}");
    assert!(percentages.iter().all(|&percent| percent < 100.0), "{percentages:?}");
}

#[test]
fn one_hundred_percent_is_reported_only_after_the_final_answer() {
    let pki = Pki::new();
    let (read, everything) = bounded(1);
    let (speak, permission) = bounded(1);
    let target = Target::start(pki.server(), move |server| {
        let mut connection = server.accept();
        connection.head();
        assert!(connection.body().complete);
        read.send(()).unwrap();
        permission.recv_timeout(HANG).unwrap();
        connection.answer(200, "");
        connection.close_notify();
    });
    let image = Image::with(&noise(1 << 20, 4));
    let mut running = Source::new(&pki, &target.url).block(&image.path()).start();
    let port = running.metrics_port();
    everything.recv_timeout(HANG).unwrap();
    let before = page_when(port, |page| known_percent(page).as_deref() == Some("99.99"));
    assert_eq!(samples(&before)["decant_sent_bytes_total"], "1048576");
    let mut scraper = slow_scraper(port);
    scraper.write_all(b"GET /metrics HTTP/1.1\r\n").unwrap();
    scraper.flush().unwrap();
    speak.send(()).unwrap();
    running.wait_for_line("clone complete");
    let after = ask(&mut scraper, "\r\n");
    let (_, after) = after.split_once("\r\n\r\n").unwrap();
    assert_eq!(percent(after), "100.00");
    running.wait().assert_done();
    target.join();
}

#[test]
fn a_new_attempt_does_not_decrease_the_percentage() {
    let pki = Pki::new();
    let (read, half) = bounded(1);
    let (speak, permission) = bounded(1);
    let (began, second_attempt) = bounded(1);
    let target = Target::start(pki.server(), move |server| {
        let mut connection = server.accept();
        connection.head();
        assert!(connection.read_part_of_body(30 << 20));
        read.send(()).unwrap();
        permission.recv_timeout(HANG).unwrap();
        connection.answer(503, "another transfer is running");
        connection.close_notify();
        let mut connection = server.accept();
        connection.head();
        began.send(()).unwrap();
        connection
    });
    let image = Image::large();
    let source = Source::new(&pki, &target.url).block(&image.path()).env("DECANT_RETRY_SECS", "60");
    let mut running = source.start();
    let port = running.metrics_port();
    half.recv_timeout(HANG).unwrap();
    let parsed = |page: &str| known_percent(page).map_or(0.0, |percent| percent.parse::<f64>().unwrap());
    let before = parsed(&page_when(port, |page| parsed(page) > 25.0));
    speak.send(()).unwrap();
    second_attempt.recv_timeout(HANG).unwrap();
    let after = parsed(&page(port));
    assert!(after >= before, "{before} {after}");
    drop(running);
    target.join();
}

/// A controller that scrapes on every change must not trigger itself by its scrapes.
#[test]
fn the_page_changes_at_most_once_a_second_and_ends_at_one_hundred() {
    let pki = Pki::new();
    let (speak, permission) = bounded(1);
    let target = Target::start(pki.server(), move |server| {
        let mut connection = server.accept();
        connection.head();
        assert!(connection.body().complete);
        permission.recv_timeout(HANG).unwrap();
        connection.answer(200, "");
        connection.close_notify();
    });
    let image = Image::large();
    let source = Source::new(&pki, &target.url).block(&image.path()).env("DECANT_LIMIT", "10MiB/s");
    let mut running = source.start();
    let port = running.metrics_port();
    page_when(port, |page| known_percent(page).is_some());
    let began = Instant::now();
    let mut pages: Vec<String> = (0..300).map(|_| page(port)).collect();
    let secs = began.elapsed().as_secs_f64();
    pages.dedup();
    let percentages: Vec<String> = pages.iter().filter_map(|page| known_percent(page)).collect();
    assert!(pages.len() as f64 <= secs + 2.0, "{} pages in {secs} s: {percentages:?}", pages.len());
    page_when(port, |page| known_percent(page).as_deref() == Some("99.99"));
    let mut scraper = slow_scraper(port);
    scraper.write_all(b"GET /metrics HTTP/1.1\r\n").unwrap();
    scraper.flush().unwrap();
    speak.send(()).unwrap();
    running.wait_for_line("clone complete");
    let last = ask(&mut scraper, "\r\n");
    assert_eq!(percent(last.split_once("\r\n\r\n").unwrap().1), "100.00");
    running.wait().assert_done();
    target.join();
}

#[test]
fn promtool_reports_only_the_camel_case_label() {
    let (closed, image) = (Closed::new(), Image::with(b"content"));
    let source = Source::new(&Pki::new(), &closed.url()).block(&image.path());
    let mut running = source.env("DECANT_RETRY_SECS", "600").start();
    let page = page_when(running.metrics_port(), |page| known_percent(page).is_some());
    let mut command = Command::new("promtool");
    command.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let spawned = command.spawn();
    if !able(spawned.is_ok(), "promtool is not installed") {
        return;
    }
    let mut promtool = spawned.unwrap();
    promtool.stdin.take().unwrap().write_all(page.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    let mut remarks: Vec<&str> = said.lines().collect();
    remarks.sort_unstable();
    let camel_case = "label names should be written in 'snake_case' not 'camelCase'";
    assert_eq!(
        remarks,
        [format!("clone_progress {camel_case}"), format!("kubevirt_cdi_clone_progress_total {camel_case}")]
    );
}
