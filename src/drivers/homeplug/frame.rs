//! Management messages of HomePlug AV as frames: the header, and the three Qualcomm vendor messages that are needed.
//! Bytes in, bytes out; it knows neither sockets nor time.

use super::keys::{KEY, Key, NID, wipe};
use super::target::Mac;

/// The EtherType of HomePlug AV.
pub const ETHERTYPE: u16 = crate::platform::HOMEPLUG_ETHERTYPE;
/// Bytes of the shortest Ethernet frame without its checksum; every request is filled up to it with zeros, because
/// drivers of virtual and serial links do not do it, and devices drop what is shorter.
pub const SHORTEST: usize = 60;
/// Bytes of the longest Ethernet frame without its checksum.
pub const LONGEST: usize = 1514;

const OUI: [u8; 3] = [0x00, 0xb0, 0x52];
/// Where the payload of a vendor message begins in version 0 of the header; version 1 has two bytes of fragmentation more.
const PAYLOAD: usize = 20;
/// The new key's encryption key selector; current tools send nothing else.
const EKS: u8 = 1;
/// The payload travels to the target under the target's device access key.
const PEKS_ACCESS_KEY: u8 = 0x00;
/// The payload travels without encryption; only as far as the local bridge.
const PEKS_NONE: u8 = 0x0f;

/// The messages, by the number of their request; the confirmation's is one higher.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// VS_SW_VER: asks for the firmware's version; answered by whoever is there.
    Version = 0xa000,
    /// VS_NW_INFO: asks for the network and its stations.
    NetworkInfo = 0xa038,
    /// VS_SET_KEY: sets the network membership key.
    SetKey = 0xa050,
}

/// Versions of the message header; the layout of VS_NW_INFO depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// HomePlug AV 1.0.
    V0 = 0,
    /// HomePlug AV 1.1, with a fragmentation field; VS_NW_INFO of chips from AR7400 on.
    V1 = 1,
}

/// A request, ready to be sent. It may hold keys, so it is wiped when it is dropped and has no Debug.
pub struct Request {
    bytes: [u8; SHORTEST],
    kind: Kind,
    version: Version,
}

/// One network as a bridge sees it.
#[derive(Debug, PartialEq)]
pub struct Network {
    /// Its identifier.
    pub nid: [u8; NID],
    /// Its stations that the bridge knows of, the coordinator among them.
    pub stations: Vec<Mac>,
}

impl Request {
    fn new(kind: Kind, version: Version, from: Mac, to: Mac) -> Request {
        let mut bytes = [0; SHORTEST];
        bytes[..6].copy_from_slice(&to.0);
        bytes[6..12].copy_from_slice(&from.0);
        bytes[12..14].copy_from_slice(&ETHERTYPE.to_be_bytes());
        bytes[14] = version as u8;
        bytes[15..17].copy_from_slice(&(kind as u16).to_le_bytes());
        let oui = payload_at(version) - OUI.len();
        bytes[oui..oui + OUI.len()].copy_from_slice(&OUI);
        Request { bytes, kind, version }
    }

    /// VS_SW_VER.
    pub fn version(from: Mac, to: Mac) -> Request {
        Request::new(Kind::Version, Version::V0, from, to)
    }

    /// VS_NW_INFO in one of its two layouts.
    pub fn network_info(from: Mac, to: Mac, version: Version) -> Request {
        Request::new(Kind::NetworkInfo, version, from, to)
    }

    /// VS_SET_KEY for the bridge that gets this frame.
    pub fn set_local_key(from: Mac, to: Mac, network_key: &Key) -> Request {
        Request::set_key(from, to, network_key, PEKS_NONE)
    }

    /// VS_SET_KEY for the bridge `remote`, which the one that gets this frame passes on under the remote's access key.
    pub fn set_remote_key(from: Mac, to: Mac, network_key: &Key, remote: Mac, access_key: &Key) -> Request {
        let mut res = Request::set_key(from, to, network_key, PEKS_ACCESS_KEY);
        res.bytes[38..44].copy_from_slice(&remote.0);
        res.bytes[44..44 + KEY].copy_from_slice(access_key.expose());
        res
    }

    fn set_key(from: Mac, to: Mac, network_key: &Key, peks: u8) -> Request {
        let mut res = Request::new(Kind::SetKey, Version::V0, from, to);
        res.bytes[PAYLOAD] = EKS;
        res.bytes[21..21 + KEY].copy_from_slice(network_key.expose());
        res.bytes[37] = peks;
        res
    }

    /// What goes out.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The payload of `frame` if it is a whole frame that confirms this kind of request. A confirmation does not say
    /// which request it answers; that is for the caller to keep apart.
    pub fn confirmed_by<'a>(&self, frame: &'a [u8]) -> Option<&'a [u8]> {
        let at = payload_at(self.version);
        let confirmation = (self.kind as u16 + 1).to_le_bytes();
        let fits = frame.len() >= SHORTEST
            && frame[12..14] == ETHERTYPE.to_be_bytes()
            && frame[14] == self.version as u8
            && frame[15..17] == confirmation
            && frame[at - OUI.len()..at] == OUI;
        fits.then(|| &frame[at..])
    }

    /// Where in a frame which byte stands if [`Request::confirmed_by`] may like it, for a filter that keeps others from
    /// taking up room: to the one that asks, from the one that is asked if that is one station.
    pub fn confirmation(&self) -> Vec<(usize, u8)> {
        let mut res: Vec<_> = (0..6).zip(self.bytes[6..12].iter().copied()).collect();
        if self.bytes[..6] != Mac::LOCAL_BRIDGES.0 && self.bytes[0] & 1 == 0 {
            res.extend((6..12).zip(self.bytes[..6].iter().copied()));
        }
        let [low, high] = (self.kind as u16 + 1).to_le_bytes();
        res.extend([(14, self.version as u8), (15, low), (16, high)]);
        let oui = payload_at(self.version) - OUI.len();
        res.extend((oui..).zip(OUI));
        res
    }

    /// The networks in the payload of this request's confirmation; `None` if it does not hold what it announces.
    pub fn networks(&self, payload: &[u8]) -> Option<Vec<Network>> {
        let layout = match self.version {
            Version::V0 => &V0,
            Version::V1 => &V1,
        };
        networks(payload, layout)
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        wipe(&mut self.bytes);
    }
}

/// The sender of a frame.
pub fn source(frame: &[u8]) -> Option<Mac> {
    frame.get(6..12)?.try_into().ok().map(Mac)
}

fn payload_at(version: Version) -> usize {
    match version {
        Version::V0 => PAYLOAD,
        Version::V1 => PAYLOAD + 2,
    }
}

/// Where things stand in a confirmation of VS_NW_INFO, and how large they are.
struct Layout {
    /// Of the number of networks, in the payload.
    count: usize,
    /// Of the coordinator's address, in a network.
    coordinator: usize,
    /// Of the number of stations, in a network.
    stations: usize,
    /// Size of a network without its stations.
    network: usize,
    /// Size of a station, which begins with its address.
    station: usize,
}

const V0: Layout = Layout { count: 0, coordinator: 10, stations: 17, network: 18, station: 15 };
const V1: Layout = Layout { count: 5, coordinator: 16, stations: 26, network: 32, station: 24 };

fn networks(payload: &[u8], layout: &Layout) -> Option<Vec<Network>> {
    let count = *payload.get(layout.count)?;
    let mut rest = payload.get(layout.count + 1..)?;
    let mut res = Vec::new();
    for _ in 0..count {
        let (network, behind) = rest.split_at_checked(layout.network)?;
        let (stations, behind) = behind.split_at_checked(usize::from(network[layout.stations]) * layout.station)?;
        let mac = |at: &[u8]| at.get(..6)?.try_into().ok().map(Mac);
        let mut known: Vec<Mac> = stations.chunks_exact(layout.station).filter_map(mac).collect();
        known.extend(mac(&network[layout.coordinator..]));
        res.push(Network { nid: network[..NID].try_into().ok()?, stations: known });
        rest = behind;
    }
    Some(res)
}

#[cfg(test)]
mod tests {
    use super::super::keys::{Dek, Password};
    use super::super::testing::{HOST, LOCAL, golden, hex, mac, unhex};
    use super::*;

    fn network_key() -> Key {
        Password::parse("secret pass").unwrap().network_key()
    }

    fn remote(to: Mac, remote: &str, dek: &str) -> Request {
        Request::set_remote_key(HOST, to, &network_key(), mac(remote), &Dek::parse(dek).unwrap().access_key())
    }

    #[test]
    fn to_the_local_address_requests_are_those_of_the_toolkit_to_the_byte() {
        let to = Mac::LOCAL_BRIDGES;
        let first = remote(to, "00:b0:52:ba:be:57", "ABCD-EFGH-IJKL-MNOP");
        let local = Request::set_local_key(HOST, to, &network_key());
        for (request, capture) in [
            (&first, "plctool-remote"),
            (&first, "setpwd-sequence"),
            (&local, "plctool-local"),
            (&local, "int6k-local"),
            (&local, "amptool-local"),
            (&Request::version(HOST, to), "swver-int6k"),
            (&Request::network_info(HOST, to, Version::V0), "nwinfo-int6k"),
            (&Request::network_info(HOST, to, Version::V1), "nwinfo-plctool"),
        ] {
            assert_eq!(hex(request.bytes()), hex(&golden(capture, 1)), "{capture}");
        }
        assert_eq!(hex(local.bytes()), hex(&golden("setpwd-sequence", 5)));
    }

    #[test]
    fn to_one_bridge_only_the_destination_differs() {
        let first = remote(LOCAL, "00:b0:52:ba:be:57", "abcdefghijklmnop");
        assert_eq!(hex(&first.bytes()[6..]), hex(&golden("plctool-remote", 1)[6..]));
        let local = Request::set_local_key(HOST, LOCAL, &network_key());
        assert_eq!(hex(local.bytes()), hex(&golden("unicast-local", 1)));
    }

    #[test]
    fn only_a_whole_confirmation_of_the_same_kind_counts() {
        let request = Request::set_local_key(HOST, LOCAL, &network_key());
        let good = golden("plctool-local", 2);
        assert_eq!(source(&good), Some(LOCAL));
        assert_eq!(request.confirmed_by(&good).map(|it| it[0]), Some(0));
        assert_eq!(request.confirmed_by(&golden("fail-wrongdak", 2)).map(|it| it[0]), Some(0x15));
        assert!(request.confirmed_by(&good[..SHORTEST - 1]).is_none() && request.confirmed_by(&[]).is_none());
        assert!(request.confirmed_by(request.bytes()).is_none());
        // EtherType, version, both bytes of the type, OUI.
        for at in [12, 13, 14, 15, 16, 17, 18, 19] {
            let mut frame = good.clone();
            frame[at] ^= 1;
            assert!(request.confirmed_by(&frame).is_none(), "byte {at}");
        }
    }

    #[test]
    fn a_filter_lets_every_confirmation_through_and_no_request_back_in() {
        let passes = |request: &Request, frame: &[u8]| request.confirmation().iter().all(|(at, it)| frame[*at] == *it);
        let key = network_key();
        for (request, capture) in [
            (Request::set_local_key(HOST, LOCAL, &key), "plctool-local"),
            (Request::set_local_key(HOST, Mac::LOCAL_BRIDGES, &key), "plctool-local"),
            (Request::version(HOST, Mac::LOCAL_BRIDGES), "swver-int6k"),
            (Request::network_info(HOST, LOCAL, Version::V0), "nwinfo-int6k"),
            (Request::network_info(HOST, LOCAL, Version::V1), "nwinfo-plctool"),
        ] {
            let good = golden(capture, 2);
            assert!(request.confirmed_by(&good).is_some() && passes(&request, &good), "{capture}");
            assert!(!passes(&request, request.bytes()), "{capture}");
            for (at, _) in request.confirmation() {
                let mut frame = good.clone();
                frame[at] ^= 1;
                assert!(!passes(&request, &frame), "{capture}, byte {at}");
            }
        }
        let stranger = Request::set_local_key(HOST, mac("00:b0:52:ba:be:99"), &key);
        assert!(!passes(&stranger, &golden("plctool-local", 2)));
    }

    #[test]
    fn both_layouts_of_the_network_list_are_read() {
        for (capture, version) in [("nwinfo-int6k", Version::V0), ("nwinfo-plctool", Version::V1)] {
            let request = Request::network_info(HOST, LOCAL, version);
            let frame = golden(capture, 2);
            let payload = request.confirmed_by(&frame).unwrap();
            let got = request.networks(payload).unwrap();
            let expect = Network {
                nid: unhex("b0f2e695666b03").try_into().unwrap(),
                stations: vec![mac("00:b0:52:ba:be:57"), LOCAL],
            };
            assert_eq!(got, [expect], "{capture}");
        }
    }

    #[test]
    fn a_network_list_that_promises_too_much_is_no_list() {
        let request = Request::network_info(HOST, LOCAL, Version::V0);
        let frame = golden("nwinfo-int6k", 2);
        for (at, value) in [(20, 9), (38, 9)] {
            let mut frame = frame.clone();
            frame[at] = value;
            assert_eq!(request.networks(request.confirmed_by(&frame).unwrap()), None, "byte {at}");
        }
        for length in 0..19 {
            assert_eq!(request.networks(&frame[20..20 + length]), None, "{length}");
        }
        // This capture ends with its last station, so it shows how long one is.
        let request = Request::network_info(HOST, LOCAL, Version::V1);
        let frame = golden("nwinfo-plctool", 2);
        let payload = request.confirmed_by(&frame).unwrap();
        assert!(request.networks(payload).is_some());
        assert_eq!(request.networks(&payload[..payload.len() - 1]), None);
    }
}
