//! A rule that does not come to an end takes a bounded share, and only of its own callers.

use crate::support::{component, load, once_free, small_host, text, token, word};
use runtime::{Host, Payload, Plugin, PluginSource, Request, Settings};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

fn looping(host: &Host, deadline: Duration) -> Plugin {
    let mut source = PluginSource::new("loop", component(&text("loop")));
    source.deadline = deadline;
    host.load(source).unwrap()
}

/// Loops for a lifetime of 13 s, and allows everything else.
const LOOPS_AT_13: &str = r#"(core module $rule
  (import "host" "memory" (memory 1))
  (func (export "evaluate") (param $request i32) (result i32)
    (if (i32.eq (i32.load offset=96 (local.get $request)) (i32.const 13)) (then (loop $again (br $again))))
    (i32.const 1024)))"#;

/// As many short calls as it takes until a plugin is called on the thread of whoever calls it.
const TRUSTED: usize = 400;

/// A rule that has made short calls for long, so that its calls are not made on threads apart, and that loops for
/// [`for_ever`].
async fn suddenly_looping(host: &Host) -> Plugin {
    let mut source = PluginSource::new("suddenly", component(LOOPS_AT_13));
    source.deadline = Duration::from_millis(100);
    trusted(host.load(source).unwrap()).await
}

async fn trusted(plugin: Plugin) -> Plugin {
    for _ in 0..TRUSTED {
        assert!(plugin.evaluate(&token(vec![], vec![])).await.is_ok());
    }
    plugin
}

fn for_ever() -> Request<'static> {
    let mut request = token(vec![], vec![]);
    let Payload::Token(token) = &mut request.payload else {
        unreachable!()
    };
    token.lifetime = 13;
    request
}

// R22
#[tokio::test(flavor = "current_thread")]
async fn a_looping_rule_does_not_hold_the_core() {
    let host = small_host();
    let (plugin, good) = (suddenly_looping(&host).await, trusted(load(&host, "good")).await);
    let ended = Arc::new(AtomicBool::new(false));
    let flag = ended.clone();
    let looping = tokio::spawn(async move {
        let outcome = plugin.evaluate(&for_ever()).await;
        flag.store(true, Ordering::SeqCst);
        (word(&outcome), plugin.metrics().yielded.load(Ordering::Relaxed))
    });
    tokio::task::yield_now().await;
    for turn in 0..20 {
        assert!(good.evaluate(&token(vec![], vec![])).await.is_ok());
        tokio::task::yield_now().await;
        assert!(
            !ended.load(Ordering::SeqCst),
            "the loop ran on without a break, up to turn {turn}"
        );
    }
    let (word, yields) = looping.await.unwrap();
    assert_eq!(word, "timeout");
    assert!(yields >= 20, "{yields} yields");
}

// R22
#[tokio::test(flavor = "current_thread")]
async fn sockets_are_served_between_two_slices() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let host = small_host();
    let plugin = suddenly_looping(&host).await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut client = tokio::net::TcpStream::connect(listener.local_addr().unwrap())
        .await
        .unwrap();
    let (mut server, _) = listener.accept().await.unwrap();
    let echo = tokio::spawn(async move {
        let mut byte = [0];
        while server.read_exact(&mut byte).await.is_ok() {
            server.write_all(&byte).await.unwrap();
        }
    });
    let looping = tokio::spawn(async move { word(&plugin.evaluate(&for_ever()).await) });
    tokio::task::yield_now().await;
    let mut byte = [1];
    for _ in 0..5 {
        client.write_all(&byte).await.unwrap();
        client.read_exact(&mut byte).await.unwrap();
        assert!(!looping.is_finished(), "a round trip took as long as the whole loop");
    }
    assert_eq!(looping.await.unwrap(), "timeout");
    drop(client);
    echo.await.unwrap();
}

// R22
#[tokio::test(flavor = "current_thread")]
async fn a_call_may_be_given_up_at_any_point() {
    let settings = Settings {
        max_calls: 1,
        max_calls_per_plugin: 1,
        max_compilations: 1,
        ..Settings::default()
    };
    let host = Host::new(settings).unwrap();
    let (apart, good) = (looping(&host, Duration::from_millis(100)), load(&host, "good"));
    for polls in 0..30 {
        // On the caller's thread each turn is a slice; apart, where it is from the first loop on, any part of one.
        let (plugin, request) = match polls % 3 {
            0 => (apart.clone(), token(vec![], vec![])),
            _ => (suddenly_looping(&host).await, for_ever()),
        };
        let call = tokio::spawn(async move { word(&plugin.evaluate(&request).await) });
        for _ in 0..polls {
            tokio::task::yield_now().await;
        }
        if polls > 0 {
            let outcome = good.evaluate(&token(vec![], vec![])).await;
            assert_eq!(word(&outcome), "busy", "the only slot is taken: {outcome:?}");
        }
        call.abort();
        assert!(call.await.unwrap_err().is_cancelled());
        let outcome = once_free(&good, &token(vec![], vec![])).await;
        assert_eq!(word(&outcome), "allowed", "given up after {polls} turns: {outcome:?}");
    }
}

// R22
#[tokio::test(flavor = "current_thread")]
async fn a_plugin_that_hangs_takes_only_its_own_share_of_calls() {
    let settings = Settings {
        max_calls: 8,
        max_calls_per_plugin: 3,
        ..Settings::default()
    };
    let host = Host::new(settings).unwrap();
    let (plugin, good) = (looping(&host, Duration::from_millis(20)), load(&host, "good"));
    let calls: Vec<_> = (0..5)
        .map(|_| {
            let plugin = plugin.clone();
            tokio::spawn(async move { word(&plugin.evaluate(&token(vec![], vec![])).await) })
        })
        .collect();
    tokio::task::yield_now().await;
    assert!(good.evaluate(&token(vec![], vec![])).await.is_ok());
    let mut words = Vec::new();
    for call in calls {
        words.push(call.await.unwrap());
    }
    words.sort_unstable();
    assert_eq!(words, ["busy", "busy", "timeout", "timeout", "timeout"]);
}

// R22
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_loops_leaves_the_good_plugin_serving() {
    let host = Host::new(Settings {
        slow_lanes: 1,
        ..Settings::default()
    })
    .unwrap();
    let (plugin, good) = (looping(&host, Duration::from_millis(5)), load(&host, "good"));
    let flood: Vec<_> = (0..40)
        .map(|_| {
            let plugin = plugin.clone();
            tokio::spawn(async move { word(&plugin.evaluate(&token(vec![], vec![])).await) })
        })
        .collect();
    let mut times = Vec::new();
    while !flood.iter().all(tokio::task::JoinHandle::is_finished) {
        let start = Instant::now();
        let outcome = good.evaluate(&token(vec![], vec![])).await;
        assert_eq!(word(&outcome), "allowed", "{outcome:?}");
        times.push(start.elapsed());
        tokio::task::yield_now().await;
    }
    for call in flood {
        assert_eq!(call.await.unwrap(), "timeout");
    }
    times.sort_unstable();
    println!(
        "{} good calls beside the flood, p50 {:?} p99 {:?}",
        times.len(),
        times[times.len() / 2],
        times[times.len() * 99 / 100]
    );
}

#[test]
fn a_call_can_move_between_threads_and_plugins_can_be_shared() {
    fn send<T: Send>(_: T) {}
    fn shared<T: Send + Sync + 'static>() {}
    shared::<Plugin>();
    shared::<Host>();
    let host = small_host();
    let plugin = load(&host, "good");
    let request = token(vec![], vec![]);
    send(plugin.evaluate(&request));
}

#[test]
fn a_plugin_outlives_its_host_and_needs_no_runtime_of_its_own() {
    let plugin = load(&small_host(), "good");
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    assert!(runtime.block_on(plugin.evaluate(&token(vec![], vec![]))).is_ok());
    let slow = looping(&small_host(), Duration::from_millis(2));
    assert_eq!(
        word(&runtime.block_on(slow.evaluate(&token(vec![], vec![])))),
        "timeout"
    );
}
