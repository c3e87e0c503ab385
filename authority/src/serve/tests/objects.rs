//! What edges fetch: large files of the bundle, and machine code that an edge would load.

use node::contract::fetch_object_request::Object;
use node::contract::{CompileTarget, CompiledComponent, FetchObjectRequest};
use runtime::{Artifact, Target};
use signing::compiled::Endorsement;
use signing::digest::sha256;

use super::*;

const RULE: &[u8] = include_bytes!("../../../../plugins/examples/two-person-release/two-person-release.wasm");

async fn fetch(client: &mut AuthorityClient<Channel>, object: Object) -> Result<(Vec<u8>, Vec<u8>), tonic::Status> {
    let request = FetchObjectRequest { object: Some(object) };
    let mut stream = client.fetch_object(request).await?.into_inner();
    let (mut endorsement, mut data) = (Vec::new(), Vec::new());
    while let Some(chunk) = stream.message().await? {
        endorsement.extend(chunk.endorsement);
        data.extend(chunk.data);
    }
    Ok((endorsement, data))
}

fn compiled(component: &[u8], name: &str, compatibility: &str) -> Object {
    Object::Compiled(CompiledComponent {
        component: component.to_vec(),
        target: Some(CompileTarget {
            name: name.into(),
            compatibility: compatibility.into(),
        }),
    })
}

/// The files of the test bundle with a plugin that is too large for the watch stream.
fn bundle() -> Vec<Value> {
    use base64::Engine as _;
    let mut files = testing::bundle(DELEGATE);
    let plugin = "[[plugins]]\nname = \"release\"\nfile = \"plugins/release.wasm\"\nimports = [\"log\", \"config\", \"digest\"]\n";
    files[0].1.extend_from_slice(plugin.as_bytes());
    files.push(("plugins/release.wasm".into(), RULE.to_vec()));
    let encode = |content: &[u8]| base64::engine::general_purpose::STANDARD.encode(content);
    let shape = |(path, content): (String, Vec<u8>)| json!({"path": path, "content_base64": encode(&content)});
    files.into_iter().map(shape).collect()
}

// R20 R31
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edge_fetches_what_its_bundle_names_and_the_code_for_its_machine() {
    let site = start().await;
    site.furnish().await;
    let body = json!({"files": bundle()}).to_string().into_bytes();
    let (status, answer) = site
        .send(Method::PUT, "/v1/bundle", Some(&site.admin_token), body)
        .await;
    assert_eq!(status, 200, "{answer}");
    let node = site.enroll("edge-1").await;
    let mut client = site.client(Some(&node));
    let own = Target::of_this_machine().unwrap();
    let request = WatchRequest {
        incarnation: INCARNATION.into(),
        compile_target: Some(CompileTarget {
            name: own.name().into(),
            compatibility: own.compatibility().into(),
        }),
        ..WatchRequest::default()
    };
    let up = Some(watch_up::Up::Request(request));
    let ups = tokio_stream::once(WatchUp { up }).chain(tokio_stream::pending());
    let mut stream = client.watch(ups).await.unwrap().into_inner();
    let Event::Snapshot(snapshot) = event(&mut stream).await else {
        panic!()
    };
    let bundle = snapshot.bundle.unwrap();
    let file = bundle
        .files
        .iter()
        .find(|file| file.path == "plugins/release.wasm")
        .unwrap();
    assert_eq!((file.content.len(), file.size), (0, u64::try_from(RULE.len()).unwrap()));
    assert!(
        bundle
            .files
            .iter()
            .all(|other| other == file || other.digest.is_empty())
    );
    let digest = file.digest.clone();
    let (_, content) = fetch(&mut client, Object::Digest(digest.clone())).await.unwrap();
    assert!(content == RULE && digest == sha256(RULE));

    let wanted = compiled(&digest, own.name(), own.compatibility());
    let (endorsement, code) = fetch(&mut client, wanted.clone()).await.unwrap();
    let endorsement = Endorsement::decode(&endorsement).unwrap();
    let roots = [node.chain.last().unwrap()];
    let believed = endorsement
        .verify(&roots, "example.org", Clock::system().now())
        .unwrap();
    let artifact = Artifact::endorsed(code, &believed, &sha256(RULE), &own).unwrap();
    assert_eq!(artifact.component(), &sha256(RULE));

    let listed = site.get("/v1/edges").await.1["edges"][0]["plugins"].clone();
    assert_eq!(
        (&listed["target"], &listed["compiled_by_authority"]),
        (&json!(own.name()), &json!(true))
    );

    for (object, code) in [
        (Object::Digest(vec![7; 32]), Code::NotFound),
        (Object::Digest(vec![7; 31]), Code::InvalidArgument),
        (Object::Digest(Vec::new()), Code::InvalidArgument),
        // Of the bundle, and not to be had like this: the edge has it.
        (Object::Digest(sha256(DELEGATE.as_bytes()).to_vec()), Code::NotFound),
        (compiled(&[7; 32], own.name(), own.compatibility()), Code::NotFound),
        (compiled(&digest, own.name(), "another"), Code::FailedPrecondition),
        (
            compiled(&digest, "riscv64", own.compatibility()),
            Code::FailedPrecondition,
        ),
    ] {
        let refused = fetch(&mut client, object.clone()).await.unwrap_err();
        assert_eq!(refused.code(), code, "{object:?}: {refused}");
    }
    let nothing = client.fetch_object(FetchObjectRequest { object: None }).await;
    assert_eq!(nothing.unwrap_err().code(), Code::InvalidArgument);
    let nobody = fetch(&mut site.client(None), wanted.clone()).await;
    assert_eq!(nobody.unwrap_err().code(), Code::Unauthenticated);
    site.post("/v1/edges/edge-1/revoke", json!({"reason": "stolen"})).await;
    for object in [wanted, Object::Digest(digest)] {
        let revoked = fetch(&mut client, object).await;
        assert_eq!(revoked.unwrap_err().code(), Code::PermissionDenied);
    }
    site.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edge_of_another_version_is_shown_as_one() {
    let site = start().await;
    site.furnish().await;
    let node = site.enroll("edge-1").await;
    let mut client = site.client(Some(&node));
    let request = |compatibility: String| WatchRequest {
        incarnation: INCARNATION.into(),
        compile_target: Some(CompileTarget {
            name: "x86-64-v3".into(),
            compatibility,
        }),
        ..WatchRequest::default()
    };
    for (compatibility, shown) in [("0".repeat(64), json!(false)), ("x".repeat(5000), Value::Null)] {
        let up = Some(watch_up::Up::Request(request(compatibility)));
        let ups = tokio_stream::once(WatchUp { up }).chain(tokio_stream::pending());
        let mut stream = client.watch(ups).await.unwrap().into_inner();
        event(&mut stream).await;
        let listed = site.get("/v1/edges").await.1["edges"][0]["plugins"].clone();
        assert_eq!(listed["compiled_by_authority"], shown, "{listed}");
    }
    site.running.stop().await;
}
