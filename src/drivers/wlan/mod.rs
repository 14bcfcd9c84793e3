//! The WLAN, through wpa_supplicant's control socket.
