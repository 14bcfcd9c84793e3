//! Serial ports: raw bytes at a given speed and framing (termios(3)), one user at a time.
//! It knows ports and bytes, not what is said over them.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use super::check;
use super::poll::{self, Entry};

/// The parity bit after the eight data bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parity {
    /// There is none.
    None,
    /// It makes the number of ones even.
    Even,
    /// It makes the number of ones odd.
    Odd,
}

/// How bytes go over the line; they always have eight bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line {
    /// Bits per second; one of [`SPEEDS`].
    pub baud: u32,
    /// The parity bit.
    pub parity: Parity,
    /// Two stop bits, not one.
    pub two_stops: bool,
}

/// The bits of an input speed of its own; zero means that it is the output's.
const CIBAUD: libc::tcflag_t = 0o2_003_600_000;

/// Speeds that every Linux knows by a constant.
pub const SPEEDS: [u32; 11] = [300, 600, 1200, 2400, 4800, 9600, 19200, 38400, 57600, 115_200, 230_400];

/// Their constants, in the same order.
const CODES: [libc::speed_t; SPEEDS.len()] = [
    libc::B300,
    libc::B600,
    libc::B1200,
    libc::B2400,
    libc::B4800,
    libc::B9600,
    libc::B19200,
    libc::B38400,
    libc::B57600,
    libc::B115200,
    libc::B230400,
];

/// An open port that never blocks. Its settings are put back when it is dropped.
pub struct Port {
    file: File,
    before: libc::termios,
}

impl Line {
    /// How long `bytes` bytes are on the line.
    pub fn time_of(&self, bytes: usize) -> Duration {
        let bits = 10 + u32::from(self.parity != Parity::None) + u32::from(self.two_stops);
        Duration::from_secs(1) * bits * u32::try_from(bytes).unwrap_or(u32::MAX) / self.baud.max(1)
    }
}

impl Port {
    /// Opens a port for this process alone. Errors: `ResourceBusy` when another process has it, `Unsupported` when the
    /// file is no serial port or the port does not take the speed, and what open(2) says.
    pub fn open(path: &Path, line: Line) -> io::Result<Port> {
        let unsupported = |text: &str| io::Error::new(io::ErrorKind::Unsupported, text);
        let code = SPEEDS.iter().zip(CODES).find(|it| *it.0 == line.baud).map(|it| it.1);
        let code = code.ok_or_else(|| unsupported("there is no such speed"))?;
        // Without O_NONBLOCK, opening would wait for a carrier.
        let flags = libc::O_NOCTTY | libc::O_NONBLOCK;
        let file = OpenOptions::new().read(true).write(true).custom_flags(flags).open(path)?;
        let fd = file.as_raw_fd();
        let before = attributes(fd).map_err(|err| match err.raw_os_error() {
            Some(libc::ENOTTY) => unsupported("it is no serial port"),
            _ => err,
        })?;
        // TIOCEXCL keeps out whoever opens the port later, unless that is root; the lock, whoever asks for it too.
        // SAFETY: flock takes plain numbers.
        check(unsafe { libc::flock(fd, libc::LOCK_EX | libc::LOCK_NB) }).map_err(|err| match err.kind() {
            io::ErrorKind::WouldBlock => io::ErrorKind::ResourceBusy.into(),
            _ => err,
        })?;
        // SAFETY: this request has no argument.
        check(unsafe { libc::ioctl(fd, libc::TIOCEXCL) })?;
        let port = Port { file, before };
        let mut wanted = before;
        // SAFETY: `wanted` is a live structure that was filled by tcgetattr; the call changes only its fields.
        unsafe { libc::cfmakeraw(&mut wanted) };
        // Both speeds are these bits of the flags. The C library's functions for them cannot be linked statically on
        // every target.
        wanted.c_cflag = (wanted.c_cflag & !(libc::CBAUD | CIBAUD)) | code;
        wanted.c_cflag &= !(libc::CSIZE | libc::PARENB | libc::PARODD | libc::CSTOPB | libc::CRTSCTS);
        wanted.c_cflag |= libc::CS8 | libc::CREAD | libc::CLOCAL;
        wanted.c_cflag |= match line.parity {
            Parity::None => 0,
            Parity::Even => libc::PARENB,
            Parity::Odd => libc::PARENB | libc::PARODD,
        };
        if line.two_stops {
            wanted.c_cflag |= libc::CSTOPB;
        }
        if line.parity != Parity::None {
            wanted.c_iflag |= libc::INPCK;
        }
        // A read returns what there is, at once.
        (wanted.c_cc[libc::VMIN], wanted.c_cc[libc::VTIME]) = (0, 0);
        set(fd, &wanted)?;
        // tcsetattr is content when anything could be set, so a speed that the port cannot do shows only here.
        let now = attributes(fd)?;
        if now.c_cflag & libc::CBAUD != code {
            return Err(unsupported("the port does not take this speed"));
        }
        port.flush()?;
        Ok(port)
    }

    /// Throws away what has come in and was not read, and what was not sent yet.
    pub fn flush(&self) -> io::Result<()> {
        // SAFETY: tcflush takes plain numbers.
        check(unsafe { libc::tcflush(self.file.as_raw_fd(), libc::TCIOFLUSH) }).map(drop)
    }

    /// Reads what there is, waiting for at most `wait`; `None` if nothing came. Errors: `UnexpectedEof` when the port
    /// is gone, for instance because its adapter was pulled out.
    pub fn receive(&mut self, buffer: &mut [u8], wait: Duration) -> io::Result<Option<usize>> {
        let mut entries = [Entry::new(self.file.as_raw_fd(), true, false)];
        poll::wait(&mut entries, wait)?;
        if entries[0].quiet() {
            return Ok(None);
        }
        match self.file.read(buffer) {
            // With VMIN 0 a port that is there reads as empty too; what poll says of it decides.
            Ok(0) if entries[0].gone() => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(0) => Ok(None),
            Ok(n) => Ok(Some(n)),
            Err(err) if matches!(err.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => Ok(None),
            Err(err) if err.raw_os_error() == Some(libc::EIO) => Err(io::ErrorKind::UnexpectedEof.into()),
            Err(err) => Err(err),
        }
    }

    /// Sends as much as fits at once, waiting for at most `wait`; says how much that was.
    pub fn send(&mut self, bytes: &[u8], wait: Duration) -> io::Result<usize> {
        let mut entries = [Entry::new(self.file.as_raw_fd(), false, true)];
        poll::wait(&mut entries, wait)?;
        if entries[0].quiet() {
            return Ok(0);
        }
        match self.file.write(bytes) {
            Err(err) if matches!(err.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => Ok(0),
            Err(err) if err.raw_os_error() == Some(libc::EIO) => Err(io::ErrorKind::UnexpectedEof.into()),
            other => other,
        }
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        // The port may be gone by now, and there is nobody to tell. The lock ends with the descriptor.
        let fd = self.file.as_raw_fd();
        let _ = self.flush();
        let _ = set(fd, &self.before);
        // SAFETY: this request has no argument.
        let _ = unsafe { libc::ioctl(fd, libc::TIOCNXCL) };
    }
}

fn attributes(fd: RawFd) -> io::Result<libc::termios> {
    let mut res = MaybeUninit::uninit();
    // SAFETY: on success the call has filled the structure that it is given.
    unsafe {
        check(libc::tcgetattr(fd, res.as_mut_ptr()))?;
        Ok(res.assume_init())
    }
}

fn set(fd: RawFd, wanted: &libc::termios) -> io::Result<()> {
    // SAFETY: the structure is live and the call only reads it.
    check(unsafe { libc::tcsetattr(fd, libc::TCSANOW, wanted) }).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: Line = Line { baud: 9600, parity: Parity::None, two_stops: false };

    /// Both ends of a pseudo terminal: ours, and the path of the other.
    fn pty() -> (File, std::path::PathBuf) {
        let master = OpenOptions::new().read(true).write(true).custom_flags(libc::O_NOCTTY).open("/dev/ptmx").unwrap();
        let (fd, mut number, unlocked) = (master.as_raw_fd(), 0, 0);
        // SAFETY: both requests take a pointer to a live int.
        unsafe {
            check(libc::ioctl(fd, libc::TIOCSPTLCK, &raw const unlocked)).unwrap();
            check(libc::ioctl(fd, libc::TIOCGPTN, &raw mut number)).unwrap();
        }
        (master, format!("/dev/pts/{number}").into())
    }

    #[test]
    fn bytes_pass_as_they_are() {
        let (mut far, path) = pty();
        let mut port = Port::open(&path, LINE).unwrap();
        let all: Vec<u8> = (0..=255).collect();
        let mut buffer = [0; 300];
        assert_eq!(port.receive(&mut buffer, Duration::from_millis(10)).unwrap(), None);
        far.write_all(&all).unwrap();
        let mut got = Vec::new();
        while got.len() < all.len() {
            let n = port.receive(&mut buffer, Duration::from_secs(5)).unwrap().unwrap();
            got.extend_from_slice(&buffer[..n]);
        }
        assert_eq!(got, all);
        assert_eq!(port.send(&all, Duration::from_secs(5)).unwrap(), all.len());
        far.read_exact(&mut buffer[..256]).unwrap();
        assert_eq!(buffer[..256], all);
        drop(far);
        let err = port.receive(&mut buffer, Duration::from_secs(5)).unwrap_err();
        assert_eq!(err.kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn a_port_has_one_user() {
        let (_far, path) = pty();
        let port = Port::open(&path, LINE).unwrap();
        let busy = |res: io::Result<Port>| res.err().map(|err| err.kind()) == Some(io::ErrorKind::ResourceBusy);
        assert!(busy(Port::open(&path, LINE)));
        drop(port);
        Port::open(&path, Line { two_stops: true, parity: Parity::Odd, ..LINE }).unwrap();
    }

    #[test]
    fn a_file_that_is_no_port_is_told() {
        let kind = |path: &str| Port::open(Path::new(path), LINE).err().map(|err| err.kind());
        assert_eq!(kind("/dev/null"), Some(io::ErrorKind::Unsupported));
        assert_eq!(kind("/no/such/port"), Some(io::ErrorKind::NotFound));
        let (_far, path) = pty();
        let err = Port::open(&path, Line { baud: 12345, ..LINE }).err().map(|err| err.kind());
        assert_eq!(err, Some(io::ErrorKind::Unsupported));
    }

    #[test]
    fn bytes_take_their_time() {
        assert_eq!(LINE.time_of(96), Duration::from_millis(100));
        let slow = Line { baud: 1200, parity: Parity::Even, two_stops: true };
        assert_eq!(slow.time_of(100), Duration::from_secs(1));
    }
}
