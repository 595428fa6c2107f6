package main

import (
	"net"
	"net/netip"
)

// onLoopback is true for an address that no other machine can reach. A name
// other than localhost is not resolved: it could be anything tomorrow.
func onLoopback(listen string) bool {
	host, _, err := net.SplitHostPort(listen)
	if err != nil {
		return false
	}
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}
