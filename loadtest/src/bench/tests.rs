use super::*;

fn round(cpu_us: f64, p50_us: u64) -> Round {
    Round {
        cpu_us,
        p50_us,
        p99_us: p50_us * 2,
        rate: 1e6 / cpu_us,
    }
}

#[test]
fn medians_leave_the_odd_round_out() {
    let measured = Measured::new(vec![round(30.0, 100), round(90.0, 900), round(31.0, 101)]);
    assert_eq!(
        (measured.median.cpu_us, measured.median.p50_us, measured.median.p99_us),
        (31.0, 101, 202)
    );
}

#[test]
fn a_comparison_reads_as_text_and_json() {
    let (floor, edge) = (
        Measured::new(vec![round(40.0, 100)]),
        Measured::new(vec![round(90.0, 200)]),
    );
    let comparison = Comparison {
        floor,
        edge,
        ratio: 2.25,
        pinned: true,
        connections: 8,
    };
    let text = comparison.to_string();
    assert!(text.lines().last().unwrap().ends_with("2.25"), "{text}");
    let value: Value = serde_json::to_value(&comparison).unwrap();
    assert_eq!(value["edge"]["median"]["cpu_us"], 90.0);
    assert_eq!(value["ratio"], 2.25);
}

fn settings(signet: &str, floor: &str, arguments: &[&str]) -> Settings {
    Settings {
        signet: signet.into(),
        floor: (
            floor.into(),
            arguments.iter().map(|argument| (*argument).to_owned()).collect(),
        ),
        rounds: 1,
        round: Duration::from_secs(1),
        connections: 1,
    }
}

#[test]
fn servers_that_do_not_start_are_named() {
    let fails = |settings: &Settings| compare(settings).unwrap_err().to_string();
    assert!(fails(&settings("/none", "/none", &[])).contains("the bare server"));
    let silent = settings("/none", "sh", &["-c", "echo the reason >&2; exit 3"]);
    assert!(
        fails(&silent).contains("ended before it was ready\nthe reason"),
        "{}",
        fails(&silent)
    );
    let wrong = settings("/none", "sh", &["-c", "echo '{}'; exec sleep 60"]);
    assert!(fails(&wrong).contains("has no /http"), "{}", fails(&wrong));
    let no_edge = settings(
        "/none",
        "sh",
        &["-c", r#"echo '{"http":"http://127.0.0.1:1"}'; exec sleep 60"#],
    );
    assert!(fails(&no_edge).contains("`signet dev`"));
    assert!(fails(&Settings { rounds: 0, ..no_edge }).contains("at least one round"));
}

/// The servers are scripts that name one in this process, so their own CPU time is next to nothing.
#[test]
fn a_bench_runs_from_start_to_end() {
    let directory = tempfile::tempdir().unwrap();
    let (send, receive) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(floor::serve(|address| send.send(address).unwrap()))
    });
    let url = format!("http://{}", receive.recv().unwrap());
    let ca = rcgen::generate_simple_self_signed(Vec::new()).unwrap();
    let ca_file = directory.path().join("ca.pem");
    std::fs::write(&ca_file, ca.cert.pem()).unwrap();
    let script = format!("echo '{{\"http\":\"{url}\"}}'; exec sleep 60");
    let settings = Settings {
        rounds: 3,
        round: Duration::from_millis(200),
        ..settings("/none", "sh", &["-c", &script])
    };
    let (floor, mut edge) = (start_floor(&settings).unwrap(), start_floor(&settings).unwrap());
    edge.ca_file = Some(ca_file);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let comparison = take_turns(&settings, &runtime, (&floor, &edge), false).unwrap();
    assert_eq!((comparison.floor.rounds.len(), comparison.edge.rounds.len()), (3, 3));
    assert!(
        comparison
            .edge
            .rounds
            .iter()
            .all(|round| round.rate > 0.0 && round.p99_us >= round.p50_us)
    );
}
