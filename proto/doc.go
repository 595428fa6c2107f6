// Package proto holds the wire contract's sources. The Go code generated from
// them is in valetkey/v1, committed, and checked for drift by make check-generate.
package proto
