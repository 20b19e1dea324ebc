//! A server of S3 on this machine, in memory, with the empty bucket `regimen`.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::BoxError;
use crate::workspace::Workspace;

/// A running server, which ends when it is dropped.
#[derive(Debug)]
pub(crate) struct S3 {
    server: Child,
    address: SocketAddr,
}

impl S3 {
    /// Starts the server of `python`, and makes the bucket `regimen`.
    pub(crate) fn start(workspace: &Workspace, python: &Path) -> Result<Self, BoxError> {
        // Free a moment ago: the server takes no socket from another process.
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let mut command = workspace.program(python);
        command.args(["-m", "moto.server", "-H", "127.0.0.1", "-p", &address.port().to_string()]);
        // Parts of any size, and all in memory.
        command.envs([("S3_UPLOAD_PART_MIN_SIZE", "1"), ("MOTO_S3_DEFAULT_KEY_BUFFER_SIZE", "1073741824")]);
        let server = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let mut s3 = S3 { server, address };
        let begun = Instant::now();
        while !s3.has_made_bucket().unwrap_or(false) {
            if let Some(status) = s3.server.try_wait()? {
                return Err(format!("the server of S3 ended with {status}").into());
            }
            if Duration::from_secs(60) < begun.elapsed() {
                return Err("the server of S3 does not answer".into());
            }
            std::thread::sleep(Duration::from_millis(200));
        }
        Ok(s3)
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

impl Drop for S3 {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}
