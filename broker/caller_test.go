package broker

import (
	"context"
	"errors"
	"reflect"
	"testing"

	"github.com/valetkey/valetkey/broker/internal/grant"
	"github.com/valetkey/valetkey/broker/server"
)

// TestZeroCallersReachNothing calls every exported operation that takes a caller
// of any service with the zero one, on a service that has nothing: whatever looked at it
// before the caller would panic.
func TestZeroCallersReachNothing(t *testing.T) {
	kinds := []reflect.Type{reflect.TypeFor[grant.Caller](), reflect.TypeFor[grant.Operator](), reflect.TypeFor[grant.Approver]()}
	takes := map[reflect.Type]int{}
	services := reflect.TypeFor[server.Services]()
	for f := range services.Fields() {
		if f.Type.Kind() == reflect.Pointer {
			refusesNobody(t, reflect.New(f.Type.Elem()), kinds, takes)
		}
	}
	for _, k := range kinds {
		if takes[k] == 0 {
			t.Errorf("no operation takes a %s", k)
		}
	}
}

// refusesNobody calls what of a service's takes a caller.
func refusesNobody(t *testing.T, service reflect.Value, kinds []reflect.Type, takes map[reflect.Type]int) {
	t.Helper()
	for i := range service.NumMethod() {
		name, m := service.Type().Method(i).Name, service.Method(i)
		var args []reflect.Value
		asks := false
		for n := range m.Type().NumIn() {
			in := m.Type().In(n)
			if in == reflect.TypeFor[context.Context]() {
				args = append(args, reflect.ValueOf(t.Context()))
				continue
			}
			for _, k := range kinds {
				if in == k {
					asks = true
					takes[k]++
				}
			}
			args = append(args, reflect.Zero(in))
		}
		if !asks {
			continue
		}
		out := m.Call(args)
		err, _ := out[len(out)-1].Interface().(error)
		if !errors.Is(err, grant.ErrNoCaller) {
			t.Errorf("%s.%s answers nobody with %v", service.Type(), name, err)
		}
	}
}
