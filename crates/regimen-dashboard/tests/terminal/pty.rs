//! A program in a terminal of its own.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};
use vt100::{Parser, Screen};

/// A program in a terminal of its own, whose screen is read.
pub(crate) struct Pty {
    /// `None` after the terminal was closed.
    keyboard: Option<File>,
    terminal: File,
    reader: Option<JoinHandle<()>>,
    is_closed: Arc<AtomicBool>,
    parser: Arc<Mutex<Parser>>,
    child: Child,
}

/// The longest wait for a screen.
const PATIENCE: Duration = Duration::from_secs(120);

impl Pty {
    /// Starts a program, which calls [`take_terminal`] first.
    pub(crate) fn start((columns, rows): (u16, u16), mut command: Command) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let path = Path::new(std::ffi::OsStr::from_bytes(name.as_bytes()));
        let terminal: File = {
            let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NOCTTY;
            rustix::fs::open(path, flags, rustix::fs::Mode::empty()).unwrap().into()
        };
        let end = || OwnedFd::from(terminal.try_clone().unwrap());
        tcsetwinsize(&terminal, size(columns, rows)).unwrap();
        let child = command.stdin(end()).stdout(end()).stderr(end()).spawn().unwrap();
        let parser = Arc::new(Mutex::new(Parser::new(rows, columns, 0)));
        let keyboard = File::from(master);
        let (mut output, shared) = (keyboard.try_clone().unwrap(), parser.clone());
        let is_closed = Arc::new(AtomicBool::new(false));
        let closed = is_closed.clone();
        let reader = spawn(move || {
            let mut bytes = [0; 4096];
            let moment = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
            while !closed.load(Ordering::Relaxed) {
                if poll(&mut [PollFd::new(&output, PollFlags::IN)], Some(&moment))
                    .is_ok_and(|ready| 0 < ready)
                {
                    let Ok(read) = output.read(&mut bytes) else { return };
                    shared.lock().unwrap().process(&bytes[..read]);
                }
            }
        });
        Pty { keyboard: Some(keyboard), terminal, reader: Some(reader), is_closed, parser, child }
    }

    pub(crate) fn press(&mut self, keys: &str) {
        self.keyboard.as_mut().unwrap().write_all(keys.as_bytes()).unwrap();
    }

    /// Changes the size of the terminal.
    #[allow(dead_code, reason = "for the tests alone")]
    pub(crate) fn resize(&mut self, columns: u16, rows: u16) {
        self.parser.lock().unwrap().screen_mut().set_size(rows, columns);
        tcsetwinsize(&self.terminal, size(columns, rows)).unwrap();
    }

    /// Waits until the screen is as `is_seen` says, and returns it.
    #[track_caller]
    pub(crate) fn wait_until(&self, is_seen: impl Fn(&Screen) -> bool) -> Screen {
        let began = Instant::now();
        loop {
            let screen = self.parser.lock().unwrap().screen().clone();
            if is_seen(&screen) {
                return screen;
            }
            assert!(began.elapsed() < PATIENCE, "it was not seen on\n{}", screen.contents());
            sleep(Duration::from_millis(10));
        }
    }

    /// Closes the terminal, as a connection that breaks off does.
    #[allow(dead_code, reason = "for the tests alone")]
    pub(crate) fn close(&mut self) {
        self.is_closed.store(true, Ordering::Relaxed);
        self.reader.take().map(JoinHandle::join).unwrap().unwrap();
        self.keyboard = None;
    }

    #[allow(dead_code, reason = "for the tests alone")]
    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Waits for the end of the program. Returns its status and the screen that it leaves.
    #[track_caller]
    pub(crate) fn end(mut self) -> (ExitStatus, Screen) {
        let status = self.child.wait().unwrap();
        let modes = tcgetattr(&self.terminal).unwrap().local_modes;
        assert!(modes.contains(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG), "{modes:?}");
        // Behind all that the program has written.
        self.terminal.write_all(b"\r\nthat was all").unwrap();
        let screen = self.wait_until(|screen| screen.contents().ends_with("that was all"));
        assert!(!screen.alternate_screen() && !screen.hide_cursor(), "the terminal is not restored");
        (status, screen)
    }
}

impl Drop for Pty {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.is_closed.store(true, Ordering::Relaxed);
    }
}

fn size(columns: u16, rows: u16) -> Winsize {
    Winsize { ws_col: columns, ws_row: rows, ws_xpixel: 0, ws_ypixel: 0 }
}

/// Makes standard input the terminal of this process, as a shell does for what it starts.
pub(crate) fn take_terminal() {
    rustix::process::setsid().unwrap();
    rustix::process::ioctl_tiocsctty(std::io::stdin()).unwrap();
}
