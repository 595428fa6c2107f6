package server

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/valetkey/valetkey/broker/internal/approval"
	"github.com/valetkey/valetkey/broker/internal/grant"
	"github.com/valetkey/valetkey/broker/internal/issue"
	"github.com/valetkey/valetkey/broker/internal/lookup"
	"github.com/valetkey/valetkey/broker/internal/notify"
	"github.com/valetkey/valetkey/broker/internal/reasons"
	"github.com/valetkey/valetkey/broker/internal/revocation"
	"github.com/valetkey/valetkey/broker/internal/rules"
	valetkeyv1 "github.com/valetkey/valetkey/proto/valetkey/v1"
)

// TestHandlersPastTheInterceptorsRefuse calls every handler without step 1: none
// answers, and none gets as far as the broker, which is none.
func TestHandlersPastTheInterceptorsRefuse(t *testing.T) {
	b := Services{Issue: &issue.Service{}, Revocation: &revocation.Service{}, Orders: &revocation.Orders{}, Watches: &notify.Hub{}, Lookup: &lookup.Desk{}, Rules: &rules.Live{}}
	called := 0
	for _, srv := range []any{&agentServer{Services: b}, &operatorServer{Services: b}, &approvalServer{b: &approval.Service{}}, &ledgerServer{Services: b, key: "key"}} {
		v := reflect.ValueOf(srv)
		for i := range v.NumMethod() {
			name, m := v.Type().Method(i).Name, v.Method(i)
			if m.Type().NumIn() != 2 || strings.HasPrefix(name, "GetLedgerKey") { // a public key
				continue
			}
			args := []reflect.Value{reflect.ValueOf(t.Context()), {}}
			if in := m.Type().In(1); in.Kind() == reflect.Pointer {
				args[1] = reflect.New(in.Elem())
			} else { // a stream
				args = []reflect.Value{reflect.New(m.Type().In(0).Elem()), reflect.ValueOf(&grpc.GenericServerStream[valetkeyv1.WatchGrantRequest, valetkeyv1.WatchGrantResponse]{
					ServerStream: &checkedStream{ctx: t.Context()},
				})}
			}
			if name == "RevokeGrants" {
				args[1] = reflect.ValueOf(&valetkeyv1.RevokeGrantsRequest{Whose: &valetkeyv1.RevokeGrantsRequest_Owner{Owner: "alice"}})
			}
			if name == "SetFreeze" {
				args[1] = reflect.ValueOf(&valetkeyv1.SetFreezeRequest{AgentSpiffeId: "spiffe://example.org/agent"})
			}
			out := m.Call(args)
			err, _ := out[len(out)-1].Interface().(error)
			if !errors.Is(err, grant.ErrNoCaller) {
				t.Errorf("%T.%s answers nobody with %v", srv, name, err)
			}
			called++
		}
	}
	if called < 15 {
		t.Errorf("%d handlers were called", called)
	}
	if s := status.Convert(statusOf(grant.ErrNoCaller, "")); s.Code() != codes.Unauthenticated || reasons.Name(grant.ErrNoCaller) != "UNAUTHENTICATED" {
		t.Errorf("nobody is answered with %v", s)
	}
}
