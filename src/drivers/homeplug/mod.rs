//! HomePlug AV bridges: establishing a new network password (VS_SET_KEY).
