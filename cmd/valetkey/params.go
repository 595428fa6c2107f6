package main

import (
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	valetkeyv1 "github.com/valetkey/valetkey/proto/valetkey/v1"
)

// parameters turns k=v arguments into the wire form. A key that comes more
// than once is a list; commas have no meaning, since values may hold them.
func parameters(args []string) (map[string]*valetkeyv1.Value, error) {
	out := make(map[string]*valetkeyv1.Value, len(args))
	for _, a := range args {
		k, v, ok := strings.Cut(a, "=")
		if !ok || k == "" {
			return nil, &usageError{fmt.Sprintf("parameter %q is not of the form name=value", a)}
		}
		if out[k] == nil {
			out[k] = &valetkeyv1.Value{}
		}
		out[k].Values = append(out[k].Values, v)
	}
	return out, nil
}

// wireTTL leaves the default to the scope.
func wireTTL(d time.Duration) *durationpb.Duration {
	if d == 0 {
		return nil
	}
	return durationpb.New(d)
}
