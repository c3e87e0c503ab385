//! A server with the S3 protocol, conditional writes included, on this machine: other people's (`moto`), with a relay in front
//! that can stall and cut. It keeps objects in memory and believes every signature.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use crate::chaos::proxy::{Proxy, Weather};
use crate::{Output, run, tool};

/// The bucket that is there.
pub const BUCKET: &str = "logs";

/// The server, ended when dropped.
#[derive(Debug)]
pub struct S3 {
    child: Child,
    proxy: Proxy,
    direct: String,
}

impl S3 {
    /// Starts it, with one empty bucket.
    pub fn start() -> S3 {
        let mut child = Command::new(tool("clients/bin/moto_server"))
            .args(["-H", "127.0.0.1", "-p", "0"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let address = lines.by_ref().map_while(Result::ok).find_map(|line| {
            let (_, address) = line.split_once("Running on http://")?;
            Some(address.trim().to_owned())
        });
        let address = address.expect("the server says where it listens");
        // It logs each request: what nobody reads would stop it.
        std::thread::spawn(move || lines.for_each(drop));
        let server = S3 {
            child,
            proxy: Proxy::to(address.parse().unwrap()),
            direct: format!("http://{address}"),
        };
        server.aws(&["s3api", "create-bucket", "--bucket", BUCKET]).success();
        server
    }

    /// Where clients under test reach it, through the relay.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.proxy.address)
    }

    /// How the way there is.
    pub fn set(&self, weather: Weather) {
        self.proxy.set(weather);
    }

    /// Ends every connection, with what was under way.
    pub fn cut(&self) {
        self.proxy.cut();
    }

    /// `aws ARGUMENTS` past the relay.
    pub fn aws(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(tool("clients/bin/aws"));
        command.args(arguments).args(["--endpoint-url", &self.direct]);
        for (name, value) in VARIABLES {
            command.env(name, value);
        }
        run(&mut command)
    }

    /// The names of the objects, each once.
    pub fn names(&self) -> Vec<String> {
        let listed = self.aws(&[
            "s3api",
            "list-objects-v2",
            "--bucket",
            BUCKET,
            "--query",
            "Contents[].Key",
            "--output",
            "text",
        ]);
        listed.success().split_whitespace().map(str::to_owned).collect()
    }
}

/// What a client needs in its environment.
pub const VARIABLES: [(&str, &str); 3] = [
    ("AWS_ACCESS_KEY_ID", "AKIATEST"),
    ("AWS_SECRET_ACCESS_KEY", "test-secret"),
    ("AWS_REGION", "us-east-1"),
];

impl Drop for S3 {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
