//! Whatever comes over the powerline: a frame that passes for a confirmation is one that the packet filter lets through,
//! and networks are read only as far as the frame goes.

use meterd::drivers::homeplug::Mac;
use meterd::drivers::homeplug::frame::{Request, SHORTEST, Version, source};

const METER: Mac = Mac([0x02, 0, 0, 0, 0, 0x10]);
const BRIDGE: Mac = Mac([0x00, 0xb0, 0x52, 0xba, 0xbe, 0x56]);

/// See the module.
pub fn check(data: &[u8]) {
    let requests = [
        Request::version(METER, Mac::LOCAL_BRIDGES),
        Request::version(METER, BRIDGE),
        Request::network_info(METER, BRIDGE, Version::V0),
        Request::network_info(METER, BRIDGE, Version::V1),
    ];
    for request in &requests {
        assert_eq!(request.bytes().len(), SHORTEST);
        assert_eq!(request.confirmed_by(request.bytes()), None, "a request confirms itself");
        let Some(payload) = request.confirmed_by(data) else { continue };
        assert!(SHORTEST <= data.len() && data.ends_with(payload));
        let to_meter = data[..6] == METER.0;
        let from_bridge = request.bytes()[..6] == Mac::LOCAL_BRIDGES.0 || source(data) == Some(BRIDGE);
        if to_meter && from_bridge {
            assert!(request.confirmation().iter().all(|(at, byte)| data[*at] == *byte), "the filter drops it");
        }
        networks(request, payload);
    }
    // Without a head that fits, so that the fuzzer need not find it first.
    networks(&requests[2], data);
    networks(&requests[3], data);
}

fn networks(request: &Request, payload: &[u8]) {
    let Some(list) = request.networks(payload) else { return };
    // Every network takes 18 bytes at least, every station 15, the coordinator's own among those of its network.
    let stations: usize = list.iter().map(|it| it.stations.len() - 1).sum();
    assert!(list.len() * 18 + stations * 15 <= payload.len());
    for network in &list {
        let is_there = |bytes: &[u8]| payload.windows(bytes.len()).any(|it| it == bytes);
        assert!(is_there(&network.nid) && network.stations.iter().all(|it| is_there(&it.0)));
    }
}
