//! Raw Ethernet frames of one protocol on one interface (packet(7)).
//! It knows interfaces and frames, not what is in them.

use std::fmt;
use std::fs;
use std::io;
use std::mem::{size_of, zeroed};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

use super::clock::boottime;
use super::{check, net, poll};

/// Frames that one call of [`PacketSocket::drain`] throws away at most: more than a receive queue of the kernel's default
/// size can hold, so whatever waited when the call began is gone, and a flood cannot hold the caller.
const MAX_DRAINED: usize = 4096;

/// A socket that sends whole frames and hears those of one EtherType that are meant for this machine.
pub struct PacketSocket {
    fd: OwnedFd,
    mac: [u8; 6],
}

/// Why a socket cannot be opened.
#[derive(Debug)]
pub enum OpenError {
    /// There is no interface of that name.
    NoInterface,
    /// The process lacks CAP_NET_RAW.
    NotAllowed,
    /// The interface does not carry Ethernet frames.
    NotEthernet,
    /// What else the system said.
    System(io::Error),
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OpenError::NoInterface => f.write_str("there is no such network interface"),
            OpenError::NotAllowed => f.write_str("raw sockets need the capability CAP_NET_RAW"),
            OpenError::NotEthernet => f.write_str("it is not an Ethernet interface"),
            OpenError::System(err) => write!(f, "{err}"),
        }
    }
}

impl std::error::Error for OpenError {}

impl From<io::Error> for OpenError {
    fn from(err: io::Error) -> Self {
        match err.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => OpenError::NotAllowed,
            Some(libc::ENODEV | libc::ENXIO) => OpenError::NoInterface,
            _ => OpenError::System(err),
        }
    }
}

impl PacketSocket {
    /// Opens a socket on `interface` for frames of `ethertype`, which takes CAP_NET_RAW; whoever gets it needs nothing.
    pub fn bound(interface: &str, ethertype: u16) -> io::Result<OwnedFd> {
        let index = net::interface_index(interface).ok_or_else(|| io::Error::from_raw_os_error(libc::ENODEV))?;
        // Protocol 0 hears nothing, so no frame of another interface arrives before the socket is bound to this one.
        let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        // SAFETY: socket takes plain numbers.
        let fd = check(unsafe { libc::socket(libc::AF_PACKET, kind, 0) })?;
        // SAFETY: `fd` was just made and nobody else owns it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };

        let mut address = blank();
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_protocol = ethertype.to_be();
        address.sll_ifindex = index as libc::c_int;
        let size = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
        // SAFETY: `address` is a live socket address of the given size; the kernel only reads it.
        check(unsafe { libc::bind(fd.as_raw_fd(), (&raw const address).cast(), size) })?;
        Ok(fd)
    }

    /// Takes a socket that [`PacketSocket::bound`] has opened.
    pub fn new(fd: OwnedFd) -> Result<PacketSocket, OpenError> {
        let mut address = blank();
        let mut size = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
        // SAFETY: `address` and `size` are live, and `size` is the room that there is for the kernel to write to.
        check(unsafe { libc::getsockname(fd.as_raw_fd(), (&raw mut address).cast(), &mut size) })?;
        let [a, b, c, d, e, f, ..] = address.sll_addr;
        if address.sll_hatype != libc::ARPHRD_ETHER || address.sll_halen != 6 {
            return Err(OpenError::NotEthernet);
        }
        Ok(PacketSocket { fd, mac: [a, b, c, d, e, f] })
    }

    /// The interface's own address.
    pub fn mac(&self) -> [u8; 6] {
        self.mac
    }

    /// Sends one frame, which begins with its destination; it is queued at once or not at all.
    pub fn send(&self, frame: &[u8]) -> io::Result<()> {
        // SAFETY: the kernel reads the live slice, as long as it says.
        let sent = unsafe { libc::send(self.fd.as_raw_fd(), frame.as_ptr().cast(), frame.len(), 0) };
        match usize::try_from(sent) {
            Ok(sent) if sent == frame.len() => Ok(()),
            Ok(_) => Err(io::ErrorKind::WriteZero.into()),
            Err(_) => Err(io::Error::last_os_error()),
        }
    }

    /// The length of the next frame for this machine, which is put into `buffer` as far as it fits; `None` if there was
    /// none within `wait`. Frames for other machines that the interface overhears are passed over.
    pub fn receive(&self, buffer: &mut [u8], wait: Duration) -> io::Result<Option<usize>> {
        let until = boottime() + wait;
        loop {
            let heard = self.take(buffer)?;
            if let Some((length, libc::PACKET_HOST)) = heard {
                return Ok(Some(length));
            }
            let left = until.saturating_sub(boottime());
            if left.is_zero() {
                return Ok(None);
            }
            if heard.is_none() {
                poll::wait(&mut [poll::Entry::new(self.fd.as_raw_fd(), true, false)], left)?;
            }
        }
    }

    /// Has the kernel drop every frame that lacks one of these bytes in its place, or that is for another machine, so that
    /// they take no room in the receive queue. What waits there already stays.
    pub fn expect(&self, bytes: &[(usize, u8)]) -> io::Result<()> {
        let mut program = vec![load(SKF_AD_PKTTYPE), equals(u32::from(libc::PACKET_HOST), bytes.len() * 2)];
        for (done, (at, value)) in bytes.iter().enumerate() {
            program.push(load(*at as u32));
            program.push(equals(u32::from(*value), (bytes.len() - done - 1) * 2));
        }
        program.push(verdict(u32::MAX));
        program.push(verdict(0));
        // A jump counts in eight bits, so more than this would go astray.
        if program.len() > usize::from(u8::MAX) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let filter = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
        let size = size_of::<libc::sock_fprog>() as libc::socklen_t;
        let (fd, level) = (self.fd.as_raw_fd(), libc::SOL_SOCKET);
        // SAFETY: `filter` and the program it points to are live, of the sizes they say; the kernel copies them.
        check(unsafe { libc::setsockopt(fd, level, libc::SO_ATTACH_FILTER, (&raw const filter).cast(), size) })?;
        Ok(())
    }

    /// Throws away what has arrived so far.
    pub fn drain(&self) -> io::Result<()> {
        for _ in 0..MAX_DRAINED {
            if self.take(&mut [0; 1])?.is_none() {
                break;
            }
        }
        Ok(())
    }

    /// The next frame that has arrived: how much of it is in `buffer`, and whom it was for.
    fn take(&self, buffer: &mut [u8]) -> io::Result<Option<(usize, u8)>> {
        let mut from = blank();
        let mut size = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
        // SAFETY: buffer, address and size are live for the call, and each is as large as the kernel is told.
        let length = unsafe {
            let from = (&raw mut from).cast();
            libc::recvfrom(self.fd.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), 0, from, &mut size)
        };
        if let Ok(length) = usize::try_from(length) {
            return Ok(Some((length, from.sll_pkttype)));
        }
        let err = io::Error::last_os_error();
        match err.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Ok(None),
            _ => Err(err),
        }
    }
}

/// Where a filter finds for whom a frame is (linux/filter.h: SKF_AD_OFF + SKF_AD_PKTTYPE).
const SKF_AD_PKTTYPE: u32 = 0xffff_f004;

/// Loads the byte at this place; a frame that is too short for it is dropped.
fn load(at: u32) -> libc::sock_filter {
    libc::sock_filter { code: (libc::BPF_LD | libc::BPF_B | libc::BPF_ABS) as u16, jt: 0, jf: 0, k: at }
}

/// Goes on if the byte is this one, otherwise to the end of the program, past `left` more steps and the good verdict.
fn equals(value: u32, left: usize) -> libc::sock_filter {
    let code = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    libc::sock_filter { code, jt: 0, jf: left as u8 + 1, k: value }
}

/// Ends the program: so many bytes of the frame are kept.
fn verdict(bytes: u32) -> libc::sock_filter {
    libc::sock_filter { code: (libc::BPF_RET | libc::BPF_K) as u16, jt: 0, jf: 0, k: bytes }
}

fn blank() -> libc::sockaddr_ll {
    // SAFETY: the structure is made of integers only, for which zero is a value.
    unsafe { zeroed() }
}

/// The Linux bridge that `interface` is a port of. A socket on a port sends but hears nothing: the bridge takes the
/// frames before the port's sockets see them, so whoever wants answers opens the bridge instead.
pub fn bridge_of(interface: &str) -> Option<String> {
    let link = fs::read_link(format!("/sys/class/net/{interface}/brport/bridge")).ok()?;
    Some(link.file_name()?.to_str()?.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(interface: &str) -> Result<PacketSocket, OpenError> {
        PacketSocket::new(PacketSocket::bound(interface, 0x88e1)?)
    }

    #[test]
    fn an_interface_that_is_not_there_is_told_from_a_missing_right() {
        for name in ["", "no-such-if0", "a/b", "nul\0nul"] {
            assert!(matches!(open(name), Err(OpenError::NoInterface)), "{name:?}");
        }
        // Loopback is everywhere and is no Ethernet; without the right the kernel refuses before that is known.
        assert!(matches!(open("lo"), Err(OpenError::NotEthernet | OpenError::NotAllowed)));
    }

    #[test]
    fn an_interface_without_a_bridge_has_none() {
        assert_eq!(bridge_of("lo"), None);
        assert_eq!(bridge_of("no-such-if0"), None);
    }
}
