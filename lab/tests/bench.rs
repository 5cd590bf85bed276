//! `alacena-lab bench` in a short time: on the service, and on a server that is quite another.

mod support;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Output;
use std::thread;

use serde_json::{Value, json};

use support::{folder, lab, told};

/// Runs a benchmark that takes as little as possible.
fn bench(folder: &Path, arguments: &[&str]) -> Output {
    bench_for("60ms", folder, arguments)
}

/// Runs one whose measurements take so long each.
fn bench_for(slice: &str, folder: &Path, arguments: &[&str]) -> Output {
    let (slice, output) = (
        format!("--slice={slice}"),
        format!("--output={}", folder.display()),
    );
    let little = ["--quick", "--rounds=2", "--rows=100", "--connections=4"];
    lab(&[&["bench"], arguments, &little, &[&slice, &output]].concat())
}

fn report(folder: &Path) -> Value {
    let json = fs::read(folder.join("bench.json")).expect("a report");
    serde_json::from_slice(&json).expect("JSON")
}

fn by_name<'a>(among: &'a Value, name: &str) -> &'a Value {
    let mut entries = among.as_array().expect("an array").iter();
    entries.find(|entry| entry["name"] == name).expect(name)
}

/// What was measured of a target.
fn figures<'a>(report: &'a Value, workload: &str, target: &str, looped: &str) -> &'a Value {
    let entry = by_name(&report["workloads"], workload);
    &by_name(&entry["targets"], target)[looped]
}

fn number(figures: &Value, path: &str) -> f64 {
    let number = figures.pointer(path).and_then(Value::as_f64);
    number.unwrap_or_else(|| panic!("{path} of {figures}"))
}

const BACKENDS: [&str; 4] = ["off", "memory", "redis", "tiered"];

#[test]
fn every_workload_is_put_to_every_backend() {
    let folder = folder();
    let plots = folder.path().join("plots");
    let plots_option = format!("--plots={}", plots.display());
    // Long enough for each workload to have something that is due.
    let (code, said) = told(&bench_for("120ms", folder.path(), &[&plots_option]));
    assert_eq!(code, Some(0), "{said}");

    let report = report(folder.path());
    assert_eq!(
        (&report["format"], &report["reference"]),
        (&json!(1), &json!("off"))
    );
    let names: Vec<&str> = report["workloads"]
        .as_array()
        .expect("workloads")
        .iter()
        .filter_map(|entry| entry["name"].as_str())
        .collect();
    let all = [
        "uniform", "zipf", "list", "email", "mixed", "cold", "stampede", "warming",
    ];
    assert_eq!(names, all);
    for workload in all {
        for backend in BACKENDS {
            for looped in ["closed", "open"] {
                let has = match looped {
                    "closed" => workload != "warming",
                    _ => workload != "stampede",
                };
                let figures = figures(&report, workload, backend, looped);
                assert_eq!(figures.is_object(), has, "{workload} {backend} {looped}");
                if has {
                    assert_eq!(figures["failed"], 0, "{workload} {backend}: {figures}");
                    assert!(
                        number(figures, "/times/longest") > number(figures, "/times/p50/least")
                    );
                    assert!(number(figures, "/cost/cpu_us/least") > 1.0);
                    assert!(number(figures, "/cost/memory_bytes") > 1e6);
                    assert_eq!(backend == "off", number(figures, "/speed_up/least") == 1.0);
                }
            }
        }
    }
    let page = fs::read_to_string(folder.path().join("bench.html")).expect("a page");
    for name in [
        "response-time",
        "latency",
        "throughput",
        "speed-up",
        "hit-rate",
        "cost",
    ] {
        let svg = fs::read_to_string(plots.join(format!("{name}.svg"))).expect(name);
        assert!(svg.starts_with("<svg"), "{name}");
        assert!(page.contains(&svg), "{name}");
    }
    for outside in ["src=", "@import", "url(", "<script", "<link"] {
        assert!(!page.contains(outside), "{outside} in the page");
    }
}

#[test]
fn a_cold_start_is_cold_and_a_warm_cache_warm() {
    let folder = folder();
    let arguments = ["cold", "uniform", "stampede", "warming", "--writes=0"];
    // Long enough to see a cache fill.
    let (code, said) = told(&bench_for("200ms", folder.path(), &arguments));
    assert_eq!(code, Some(0), "{said}");
    let report = report(folder.path());
    for backend in BACKENDS {
        let cold = figures(&report, "cold", backend, "closed");
        assert_eq!(number(cold, "/hit_rate"), 0.0, "{backend}");
        // Each of a hundred rows, in two rounds.
        assert_eq!(number(cold, "/requests"), 200.0, "{backend}");
        assert!(number(cold, "/cost/queries/least") >= 1.0, "{backend}");

        let warm = figures(&report, "uniform", backend, "closed");
        // On a busy machine Redis may answer too late for one or the other.
        let rates = if backend == "off" {
            0.0..=0.0
        } else {
            95.0..=100.0
        };
        let rate = number(warm, "/hit_rate");
        assert!(rates.contains(&rate), "{backend}: {rate}%");

        let crowd = figures(&report, "stampede", backend, "closed");
        // A crowd is 64, and the check of who asks is a query too where nothing is cached.
        let queries = number(crowd, "/cost/queries/most") * 64.0;
        if backend == "off" {
            assert!(queries >= 64.0, "{backend}: {queries} queries of a crowd");
        } else {
            assert!(queries < 8.0, "{backend}: {queries} queries of a crowd");
        }

        let course = figures(&report, "warming", backend, "open")["course"].as_array();
        let course = course.expect("a course");
        let rate = |moment: &Value| number(moment, "/hits") / number(moment, "/reads").max(1.0);
        let (first, last) = (rate(&course[0]), rate(&course[course.len() - 1]));
        assert_eq!(
            first < last,
            backend != "off",
            "{backend}: {first} to {last}"
        );
    }
    // What Redis is asked for is seen where there is one.
    let asked = |backend| {
        number(
            figures(&report, "uniform", backend, "closed"),
            "/cost/redis_commands/median",
        )
    };
    assert!(asked("redis") >= 1.0);
    assert!(asked("tiered") < 0.5);
    let none = figures(&report, "uniform", "memory", "closed")["cost"]["redis_cpu_us"].clone();
    assert_eq!(none, Value::Null);
}

#[test]
fn a_report_can_be_drawn_again() {
    let folder = folder();
    let (code, said) = told(&bench(folder.path(), &["zipf", "--backend=off,memory"]));
    assert_eq!(code, Some(0), "{said}");
    let page = folder.path().join("bench.html");
    let drawn = fs::read_to_string(&page).expect("a page");
    fs::remove_file(&page).expect("removed");
    let path = folder.path().display().to_string();
    let again = lab(&["report", &path]);
    assert_eq!(again.status.code(), Some(0));
    assert_eq!(fs::read_to_string(&page).expect("a page"), drawn);
    let table = String::from_utf8_lossy(&again.stdout).into_owned();
    assert!(table.contains("| memory |"), "{table}");
    assert!(said.contains(&table), "the same tables");

    let json = folder.path().join("bench.json");
    let other =
        fs::read_to_string(&json)
            .expect("a report")
            .replacen("\"format\": 1", "\"format\": 99", 1);
    fs::write(&json, other).expect("written");
    let (code, said) = told(&lab(&["report", &path]));
    assert_eq!(code, Some(1));
    assert!(said.contains("format 99"), "{said}");
}

#[test]
fn wrong_usage_is_named() {
    for (arguments, why) in [
        (
            &[
                "--target=mine=http://127.0.0.1:1",
                "--target=mine=http://127.0.0.1:2",
            ][..],
            "two targets are called mine",
        ),
        (
            &["--target=off=http://127.0.0.1:1"],
            "two targets are called off",
        ),
        (&["--target=http://127.0.0.1:1"], "NAME=http://HOST:PORT"),
        (&["--targets-only"], "--target"),
        (&["--rows=5"], "100..=1000000"),
        (&["lukewarm"], "uniform"),
    ] {
        let (code, said) = told(&lab(&[&["bench"], arguments].concat()));
        assert_eq!(code, Some(2), "{arguments:?}: {said}");
        assert!(said.contains(why), "{arguments:?}: {said}");
    }
}

#[test]
fn who_cannot_be_asked_is_named() {
    let nobody = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = nobody.local_addr().expect("an address");
    drop(nobody);
    let folder = folder();
    let target = format!("--target=gone=http://{address}");
    let (code, said) = told(&bench(
        folder.path(),
        &["uniform", "--targets-only", &target],
    ));
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("gone: logging in: cannot connect"), "{said}");
}

#[test]
fn another_server_is_asked_what_it_has_routes_for() {
    let folder = folder();
    let target = format!("--target=other=http://{}", other_server(100));
    let workloads = ["uniform", "email", "cold"];
    let (code, said) = told(&bench(
        folder.path(),
        &[&workloads[..], &["--targets-only", &target]].concat(),
    ));
    assert_eq!(code, Some(0), "{said}");
    let report = report(folder.path());
    assert_eq!(report["reference"], "other");
    let uniform = figures(&report, "uniform", "other", "open");
    assert!(number(uniform, "/requests") > 0.0);
    // It is this very process.
    assert!(number(uniform, "/cost/cpu_us/least") > 0.0);
    for unknown in ["/hit_rate", "/cost/queries", "/cost/redis_commands"] {
        assert_eq!(uniform.pointer(unknown), Some(&Value::Null), "{unknown}");
    }
    for (workload, why) in [
        ("email", "answered 404"),
        ("cold", "DELETE /cache/clear: 404"),
    ] {
        let entry = by_name(&report["workloads"], workload);
        let left_out = by_name(&entry["targets"], "other")["left_out"].as_str();
        let left_out = left_out.expect("it is left out");
        assert!(left_out.contains(why), "{left_out}");
        assert!(said.contains(left_out), "{said}");
    }
}

#[test]
fn failed_requests_fail_the_benchmark() {
    let folder = folder();
    // The last of its users is one that it cannot show.
    let target = format!("--target=other=http://{}", other_server(99));
    let (code, said) = told(&bench(
        folder.path(),
        &["uniform", "--targets-only", &target],
    ));
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("requests failed: answered 500"), "{said}");
    let page = fs::read_to_string(folder.path().join("bench.html")).expect("a page");
    assert!(page.contains("requests failed"), "and the page says so");
}

#[test]
fn who_answers_nothing_is_left_out_and_the_others_are_not() {
    let folder = folder();
    let target = format!("--target=other=http://{}", other_server(0));
    let arguments = ["uniform", "--backend=off", &target];
    let (code, said) = told(&bench(folder.path(), &arguments));
    assert_eq!(code, Some(0), "{said}");
    let report = report(folder.path());
    let entry = by_name(&report["workloads"], "uniform");
    assert_eq!(
        by_name(&entry["targets"], "other")["left_out"],
        "answered 500"
    );
    let off = figures(&report, "uniform", "off", "open");
    assert!(number(off, "/times/p50/median") > 0.0);
    assert!(
        number(entry, "/rate") > 20.0,
        "it is not the slowest: {entry}"
    );
}

#[test]
fn at_a_low_rate_nothing_may_be_due_and_that_is_no_error() {
    let folder = folder();
    let target = format!("--target=other=http://{}", other_server(100));
    let arguments = ["uniform", "--targets-only", &target, "--rate=1"];
    let (code, said) = told(&bench(folder.path(), &arguments));
    assert_eq!(code, Some(0), "{said}");
    let closed = number(
        figures(&report(folder.path()), "uniform", "other", "closed"),
        "/requests",
    );
    assert!(closed > 1.0);
}

#[test]
fn of_a_few_requests_nothing_is_drawn_that_they_do_not_tell() {
    let folder = folder();
    let target = format!("--target=other=http://{}", other_server(100));
    let arguments = ["uniform", "--targets-only", &target, "--rate=15"];
    let (code, said) = told(&bench_for("200ms", folder.path(), &arguments));
    assert_eq!(code, Some(0), "{said}");
    let report = report(folder.path());
    let open = figures(&report, "uniform", "other", "open");
    assert!(number(open, "/times/p50/median") > 0.0);
    assert_eq!(open["times"]["p999"], Value::Null);
    assert_eq!(open["times"]["curve"], json!([]), "{open}");
}

#[test]
fn too_few_users_are_an_error_that_says_what_to_do() {
    let folder = folder();
    let target = format!("--target=other=http://{}", other_server(100));
    let arguments = ["uniform", "--targets-only", &target, "--output"];
    let path = folder.path().display().to_string();
    let arguments = [&["bench"], &arguments[..], &[&path, "--rows=200"]].concat();
    let (code, said) = told(&lab(&arguments));
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("there are 100 users"), "{said}");
}

/// A server that has a login and a hundred users, shows so many of them, and knows nothing else.
fn other_server(shown: u64) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || serve(&stream, shown));
        }
    });
    address
}

fn serve(stream: &TcpStream, shown: u64) {
    let mut reader = BufReader::new(stream);
    loop {
        let mut head = Vec::new();
        loop {
            let mut line = String::new();
            match reader.read_line(&mut line) {
                Ok(0) | Err(_) => return,
                Ok(_) if line.trim().is_empty() => break,
                Ok(_) => head.push(line.trim().to_ascii_lowercase()),
            }
        }
        let lengths = head
            .iter()
            .filter_map(|line| line.strip_prefix("content-length: "));
        let length = lengths
            .filter_map(|length| length.parse().ok())
            .next()
            .unwrap_or(0);
        let mut body = vec![0; length];
        if reader.read_exact(&mut body).is_err() {
            return;
        }
        let mut words = head[0].split(' ');
        let (method, path) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
        let (status, answer) = answer(method, path, shown);
        let answer = answer.to_string();
        let length = answer.len();
        let answer = format!("HTTP/1.1 {status} .\r\nContent-Length: {length}\r\n\r\n{answer}");
        let mut stream = stream;
        if stream.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

fn answer(method: &str, path: &str, shown: u64) -> (u16, Value) {
    let user = |id: u64| json!({ "id": id, "email": format!("user{id}@example.com") });
    match (method, path.split_once('?').map_or(path, |(path, _)| path)) {
        ("post", "/auth/login") => (200, json!({ "access_token": "token" })),
        ("get", "/users") if path.contains("skip=0&") => (200, (1..=100).map(user).collect()),
        ("get", "/users") => (200, json!([])),
        ("get", path) => match path.strip_prefix("/users/").and_then(|id| id.parse().ok()) {
            Some(id) if id <= shown => (200, user(id)),
            Some(_) => (500, json!("broken")),
            None => (404, json!("unknown")),
        },
        _ => (404, json!("unknown")),
    }
}
