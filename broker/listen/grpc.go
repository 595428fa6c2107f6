package listen

import (
	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"
)

// Options hold a gRPC server to the budget, but for what a tap has to count.
func (b GRPC) Options() []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.ConnectionTimeout(b.Handshake),
		grpc.MaxHeaderListSize(b.HeaderBytes),
		grpc.HeaderTableSize(b.TableBytes),
		grpc.MaxConcurrentStreams(b.Streams),
		grpc.MaxRecvMsgSize(b.MessageBytes),
		grpc.KeepaliveParams(keepalive.ServerParameters{
			MaxConnectionIdle: b.Idle, MaxConnectionAge: b.Age, MaxConnectionAgeGrace: b.Grace, Time: b.Ping, Timeout: b.Pong,
		}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: b.PingsApart}),
	}
}
