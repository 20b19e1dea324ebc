//! A server of S3 on this machine, with the empty bucket `regimen`.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::BoxError;
use crate::workspace::{Workspace, run};

/// A running server, which ends when it is dropped.
#[derive(Debug)]
pub(crate) struct S3 {
    server: Child,
    address: SocketAddr,
}

impl S3 {
    /// Starts the server of `python`, which has conditional puts, and makes the bucket.
    pub(crate) fn start(workspace: &Workspace, python: &Path) -> Result<Self, BoxError> {
        let address = free()?;
        let mut command = workspace.program(python);
        command.args(["-m", "moto.server", "-H", "127.0.0.1", "-p", &address.port().to_string()]);
        // Parts of any size, and all in memory.
        command.envs([("S3_UPLOAD_PART_MIN_SIZE", "1"), ("MOTO_S3_DEFAULT_KEY_BUFFER_SIZE", "1073741824")]);
        S3::spawn(&mut command, address)?.wait(S3::has_made_bucket)
    }

    /// Starts a faster one, for measurements, which keeps its objects in an empty `folder`. Installing it takes minutes.
    pub(crate) fn start_fast(workspace: &Workspace, folder: &Path) -> Result<Self, BoxError> {
        let root = workspace.target.join("s3s-fs");
        let install =
            ["install", "s3s-fs", "--version", "=0.14.1", "--locked", "--features", "binary", "--quiet"];
        run(workspace.cargo(&install).arg("--root").arg(&root))?;
        fs::create_dir(folder.join("regimen"))?;
        let address = free()?;
        // At the lowest priority: on a machine of its own it would take no core from a training.
        let mut command = workspace.program("nice");
        command.args(["-n", "19"]).arg(root.join("bin/s3s-fs")).args(["--host", "127.0.0.1"]);
        command.args(["--port", &address.port().to_string()]);
        command.args(["--access-key", "test", "--secret-key", "test"]).arg(folder);
        S3::spawn(&mut command, address)?.wait(|s3| Ok(TcpStream::connect(s3.address).is_ok()))
    }

    fn spawn(command: &mut Command, address: SocketAddr) -> Result<Self, BoxError> {
        let server = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        Ok(S3 { server, address })
    }

    /// Waits until it is ready.
    fn wait(mut self, is_ready: impl Fn(&S3) -> Result<bool, BoxError>) -> Result<Self, BoxError> {
        let begun = Instant::now();
        while !is_ready(&self).unwrap_or(false) {
            if let Some(status) = self.server.try_wait()? {
                return Err(format!("the server of S3 ended with {status}").into());
            }
            if Duration::from_secs(60) < begun.elapsed() {
                return Err("the server of S3 does not answer".into());
            }
            std::thread::sleep(Duration::from_millis(200));
        }
        Ok(self)
    }

    /// The variables by which a program finds it.
    pub(crate) fn variables(&self) -> [(&'static str, String); 5] {
        let fixed = [
            ("AWS_ACCESS_KEY_ID", "test"),
            ("AWS_SECRET_ACCESS_KEY", "test"),
            ("AWS_REGION", "us-east-1"),
            ("AWS_ALLOW_HTTP", "true"),
        ];
        let [key, secret, region, http] = fixed.map(|(name, value)| (name, value.to_owned()));
        [key, secret, region, http, ("AWS_ENDPOINT_URL", format!("http://{}", self.address))]
    }

    fn has_made_bucket(&self) -> Result<bool, BoxError> {
        let mut stream = TcpStream::connect(self.address)?;
        // One that accepts and is silent is asked again.
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        let host = self.address;
        write!(
            stream,
            "PUT /regimen HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer.starts_with("HTTP/1.1 200"))
    }
}

/// Free a moment ago: the servers take no socket from another process.
fn free() -> Result<SocketAddr, BoxError> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

impl Drop for S3 {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}
