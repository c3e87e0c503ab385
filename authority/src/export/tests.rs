use std::sync::Mutex;

use audit::record::{Draft, Event, Outcome};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use super::*;
use crate::clock::held_at;
use crate::config::{FileExport, HttpExport, SyslogExport};
use node::config::Seconds;

const NOW: u64 = 1_790_000_000;

fn record(sequence: u64, time: u64) -> Record {
    Record {
        version: audit::record::VERSION,
        edge: "edge-1".into(),
        incarnation: "i1".into(),
        sequence,
        previous: [0; 32],
        event: Event::Use(Draft {
            outcome: Outcome::Signed,
            caller: "oidc:x#y".into(),
            tenant: "000000000001".into(),
            profile: Some("api".into()),
            key: None,
            kid: None,
            digest: None,
            policies: Vec::new().into(),
            plugins: Vec::new(),
            request_id: uuid::Uuid::from_u128(u128::from(sequence)),
            trace_id: None,
            time_ms: time * 1000,
        }),
    }
}

/// Packs in memory, to which more may come.
#[derive(Default)]
struct Packs(Mutex<Vec<Vec<Record>>>);

impl Packs {
    fn of(packs: &[&[Record]]) -> Arc<Packs> {
        Arc::new(Packs(Mutex::new(packs.iter().map(|pack| pack.to_vec()).collect())))
    }
}

#[async_trait]
impl Source for Packs {
    async fn read(&self, from: Place, limit: usize) -> Result<Page, String> {
        let packs = self.0.lock().unwrap();
        let mut page = Page::nothing(from);
        while let Some(pack) = packs.get(usize::try_from(page.next.leaf).unwrap()) {
            let room = limit - page.records.len();
            let before = page.records.len();
            page.records
                .extend(pack.iter().skip(page.next.read).take(room).cloned());
            page.next.read += page.records.len() - before;
            if page.next.read < pack.len() {
                break;
            }
            page.next = Place {
                leaf: page.next.leaf + 1,
                read: 0,
            };
        }
        Ok(page)
    }
}

struct Bench {
    dir: TempDir,
    hand: Arc<std::sync::atomic::AtomicU64>,
    clock: Clock,
    metrics: Metrics,
    counters: Counters,
    gaps: Arc<Mutex<Vec<Gap>>>,
}

impl Bench {
    fn new() -> Bench {
        let (clock, hand) = held_at(NOW);
        let metrics = Metrics::new("signet");
        Bench {
            dir: TempDir::new().unwrap(),
            hand,
            clock,
            counters: Counters::new(&metrics),
            metrics,
            gaps: Arc::default(),
        }
    }

    /// Runs a sink until what is returned is dropped.
    fn start(&self, config: &ExportConfig, source: Arc<Packs>) -> watch::Sender<bool> {
        let (stop, stopped) = watch::channel(false);
        let gaps = self.gaps.clone();
        let on_gap = Arc::new(move |gap: &Gap| gaps.lock().unwrap().push(gap.clone()));
        let export = Export::new(
            config,
            self.dir.path(),
            self.clock.clone(),
            self.counters.clone(),
            on_gap,
        )
        .unwrap();
        tokio::spawn(export.run(source, stopped));
        stop
    }

    fn count(&self, metric: &str) -> u64 {
        let text = self.metrics.render().unwrap();
        let line = text
            .lines()
            .find(|line| line.starts_with(&format!("signet_{metric}_total{{")));
        line.map_or(0, |line| line.rsplit(' ').next().unwrap().parse().unwrap())
    }

    async fn until(&self, what: &str, holds: impl Fn(&Bench) -> bool) {
        let waited = async {
            while !holds(self) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let in_time = tokio::time::timeout(Duration::from_secs(20), waited).await;
        assert!(in_time.is_ok(), "{what}: {}", self.metrics.render().unwrap());
    }

    fn file(&self) -> ExportConfig {
        ExportConfig::File(FileExport {
            name: "disk".into(),
            path: self.dir.path().join("out.jsonl"),
            body: audit::export::Body::Json,
            max_lag: Seconds::new(60),
        })
    }
}

fn sequences(lines: &str) -> Vec<u64> {
    let records = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    records.map(|record| record["sequence"].as_u64().unwrap()).collect()
}

/// A server that takes one POST a connection, answers as it is told, and passes on what came.
async fn collector(answers: &'static [(u16, &'static str)]) -> (String, mpsc::UnboundedReceiver<(String, String)>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/services/collector/event", listener.local_addr().unwrap());
    let (sender, receiver) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        for (status, body) in answers {
            let (mut stream, _) = listener.accept().await.unwrap();
            let request = request(&mut stream).await;
            let answer = format!(
                "HTTP/1.1 {status} X\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            );
            stream.write_all(answer.as_bytes()).await.unwrap();
            sender.send(request).unwrap();
        }
    });
    (url, receiver)
}

async fn request(stream: &mut TcpStream) -> (String, String) {
    let mut reader = BufReader::new(stream);
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).await.unwrap();
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        if line == "\r\n" {
            break;
        }
        head.push_str(&line);
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).await.unwrap();
    (head, String::from_utf8(body).unwrap())
}

fn http(name: &str, url: String, authorization_file: Option<PathBuf>) -> HttpExport {
    HttpExport {
        name: name.into(),
        url,
        authorization_file,
        ca_file: None,
        certificate_file: None,
        key_file: None,
        max_lag: Seconds::new(60),
    }
}

#[tokio::test]
async fn a_file_gets_every_record_once_over_restarts_and_renames() {
    let bench = Bench::new();
    let out = bench.dir.path().join("out.jsonl");
    // What an earlier batch left in the middle of a line.
    std::fs::write(&out, "{\"half\":").unwrap();
    let packs = Packs::of(&[&[record(1, NOW), record(2, NOW)], &[record(3, NOW)]]);
    let running = bench.start(&bench.file(), packs.clone());
    bench
        .until("three records", |bench| bench.count("export_records") == 3)
        .await;
    let written = std::fs::read_to_string(&out).unwrap();
    assert_eq!(sequences(written.split_once('\n').unwrap().1), [1, 2, 3]);
    drop(running);

    std::fs::rename(&out, bench.dir.path().join("out.1")).unwrap();
    packs.0.lock().unwrap().push(vec![record(4, NOW)]);
    let _running = bench.start(&bench.file(), packs);
    bench
        .until("the fourth", |bench| bench.count("export_records") == 4)
        .await;
    assert_eq!(sequences(&std::fs::read_to_string(&out).unwrap()), [4]);
    assert_eq!(*bench.gaps.lock().unwrap(), []);
}

#[tokio::test]
async fn a_collector_that_fails_is_asked_again_with_the_token_of_now() {
    let bench = Bench::new();
    let token = bench.dir.path().join("token");
    std::fs::write(&token, "Splunk first\n").unwrap();
    let (url, mut requests) = collector(&[(503, "busy"), (200, "{\"text\":\"Success\"}")]).await;
    let config = ExportConfig::Collector(http("siem", url, Some(token.clone())));
    let _running = bench.start(&config, Packs::of(&[&[record(1, NOW), record(2, NOW)]]));
    let (head, _) = requests.recv().await.unwrap();
    assert!(
        head.to_ascii_lowercase().contains("authorization: splunk first\r\n"),
        "{head}"
    );
    std::fs::write(&token, "Splunk second\n").unwrap();
    let (head, body) = requests.recv().await.unwrap();
    assert!(head.starts_with("POST /services/collector/event "), "{head}");
    assert!(head.contains("Splunk second"), "{head}");
    let events: Vec<Value> = body.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((events.len(), &events[1]["event"]["sequence"]), (2, &Value::from(2)));
    bench
        .until("both are counted", |bench| bench.count("export_records") == 2)
        .await;
    assert_eq!(bench.count("export_failures"), 1);
}

#[tokio::test]
async fn what_an_otlp_receiver_rejects_is_lost_and_said_so() {
    let bench = Bench::new();
    let (url, _requests) = collector(&[(200, "{\"partialSuccess\":{\"rejectedLogRecords\":\"1\"}}")]).await;
    let config = ExportConfig::Otlp(http("otel", url, None));
    let _running = bench.start(&config, Packs::of(&[&[record(1, NOW), record(2, NOW)]]));
    bench
        .until("one is taken", |bench| bench.count("export_records") == 1)
        .await;
    assert_eq!(bench.count("export_lost_records"), 1);
    assert_eq!(bench.gaps.lock().unwrap()[0].records, 1);
}

#[tokio::test]
async fn a_sink_that_is_down_too_long_loses_the_oldest_once_and_they_are_named() {
    let bench = Bench::new();
    let missing = bench.dir.path().join("not-there");
    let ExportConfig::File(mut file) = bench.file() else {
        unreachable!()
    };
    file.path = missing.join("out.jsonl");
    // Old ones before anything failed: a new sink gets them all.
    let packs = Packs::of(&[
        &[record(1, NOW - 9_000)],
        &[record(2, NOW - 30), record(3, NOW - 20)],
        &[record(4, NOW)],
    ]);
    let _running = bench.start(&ExportConfig::File(file), packs);
    bench
        .until("a failure", |bench| bench.count("export_failures") > 0)
        .await;
    bench.hand.store(NOW + 35, std::sync::atomic::Ordering::SeqCst);
    bench
        .until("the gap", |bench| bench.count("export_lost_records") >= 2)
        .await;
    std::fs::create_dir(&missing).unwrap();
    bench
        .until("the rest", |bench| bench.count("export_records") == 2)
        .await;
    assert_eq!(
        sequences(&std::fs::read_to_string(missing.join("out.jsonl")).unwrap()),
        [3, 4]
    );
    let gaps = bench.gaps.lock().unwrap();
    let lost: usize = gaps.iter().map(|gap| gap.records).sum();
    assert_eq!(
        (lost, gaps[0].first.as_str(), gaps.last().unwrap().last.as_str()),
        (2, "edge-1/i1/1", "edge-1/i1/2")
    );
}

/// As a proxy before a receiver says that bounds what is posted.
const TOO_LARGE: (u16, &str) = (413, "too large");

#[tokio::test]
async fn what_is_too_large_for_a_receiver_comes_in_parts() {
    let bench = Bench::new();
    let (url, mut requests) = collector(&[
        TOO_LARGE,
        TOO_LARGE,
        TOO_LARGE,
        (200, ""),
        (200, ""),
        (200, ""),
        (200, ""),
    ])
    .await;
    let config = ExportConfig::Collector(http("siem", url, None));
    let _running = bench.start(
        &config,
        Packs::of(&[&[1, 2, 3, 4].map(|sequence| record(sequence, NOW))]),
    );
    let mut came = Vec::new();
    for _ in 0..7 {
        let request = tokio::time::timeout(Duration::from_secs(20), requests.recv()).await;
        let (_, body) = request
            .unwrap_or_else(|_| panic!("no more comes after {came:?}"))
            .unwrap();
        let events = body.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        came.push(
            events
                .map(|event| event["event"]["sequence"].as_u64().unwrap())
                .collect::<Vec<_>>(),
        );
    }
    let whole = vec![1, 2, 3, 4];
    assert_eq!(
        came,
        [whole.clone(), whole, vec![1, 2], vec![1], vec![2], vec![3], vec![4]]
    );
    bench
        .until("each is counted once", |bench| bench.count("export_records") == 4)
        .await;
    assert_eq!(bench.count("export_failures"), 3);
}

#[tokio::test]
async fn how_far_a_sink_is_behind_is_told_while_it_is_down_and_after() {
    let bench = Bench::new();
    let missing = bench.dir.path().join("not-there");
    let ExportConfig::File(mut file) = bench.file() else {
        unreachable!()
    };
    file.path = missing.join("out.jsonl");
    let _running = bench.start(
        &ExportConfig::File(file),
        Packs::of(&[&[record(1, NOW - 30), record(2, NOW)]]),
    );
    let behind = |bench: &Bench, seconds: u64| {
        let line = format!("signet_export_behind_seconds{{sink=\"disk\"}} {seconds}\n");
        bench.metrics.render().unwrap().contains(&line)
    };
    bench.until("it is behind", |bench| behind(bench, 30)).await;
    bench.hand.store(NOW + 10, std::sync::atomic::Ordering::SeqCst);
    bench.until("it is further behind", |bench| behind(bench, 40)).await;
    std::fs::create_dir(&missing).unwrap();
    bench.until("it has all", |bench| behind(bench, 0)).await;
}

#[tokio::test]
async fn a_new_sink_gets_records_however_old_they_are() {
    let bench = Bench::new();
    let _running = bench.start(&bench.file(), Packs::of(&[&[record(1, NOW - 90_000)]]));
    bench
        .until("the old record", |bench| bench.count("export_records") == 1)
        .await;
}

#[tokio::test]
async fn what_syslog_wrote_before_a_connection_broke_is_written_again() {
    let bench = Bench::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let config = ExportConfig::Syslog(SyslogExport {
        name: "siem".into(),
        address: listener.local_addr().unwrap().to_string(),
        plain: true,
        ca_file: None,
        certificate_file: None,
        key_file: None,
        body: audit::export::Body::Cef,
        max_lag: Seconds::new(60),
    });
    let packs = Packs::of(&[&[record(1, NOW)]]);
    let _running = bench.start(&config, packs.clone());
    let (first, _) = listener.accept().await.unwrap();
    bench
        .until("the first is written", |bench| bench.count("export_records") == 1)
        .await;
    drop(first);
    packs.0.lock().unwrap().push(vec![record(2, NOW)]);
    let (mut second, _) = listener.accept().await.unwrap();
    let mut text = String::new();
    while !text.contains("externalId=edge-1/i1/2 ") {
        let mut piece = [0; 4096];
        let read = second.read(&mut piece).await.unwrap();
        assert!(read > 0, "{text}");
        text.push_str(&String::from_utf8_lossy(&piece[..read]));
    }
    assert!(text.contains("externalId=edge-1/i1/1 "), "{text}");
    let (length, rest) = text.split_once(' ').unwrap();
    assert!(rest[length.parse::<usize>().unwrap()..].contains(" <110>1 "), "{text}");
}

#[test]
fn files_that_are_missing_or_wrong_are_named_at_the_start() {
    let bench = Bench::new();
    let build = |config: &ExportConfig| {
        let export = Export::new(
            config,
            bench.dir.path(),
            bench.clock.clone(),
            bench.counters.clone(),
            Arc::new(|_| {}),
        );
        export.map(|_| ()).unwrap_err().to_string()
    };
    let mut config = http("siem", "https://localhost/x".into(), None);
    config.ca_file = Some(bench.dir.path().join("nowhere.pem"));
    let error = build(&ExportConfig::Collector(config.clone()));
    assert!(error.contains("`siem`") && error.contains("nowhere.pem"), "{error}");
    std::fs::write(bench.dir.path().join("nowhere.pem"), "not a certificate").unwrap();
    assert!(build(&ExportConfig::Collector(config)).contains("no certificate"));
    let config = http(
        "siem",
        "http://localhost/x".into(),
        Some(bench.dir.path().join("no-token")),
    );
    assert!(build(&ExportConfig::Otlp(config)).contains("no-token"));
}
