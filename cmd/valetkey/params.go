package main

import (
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	valetkeyv1 "github.com/valetkey/valetkey/proto/valetkey/v1"
)

// parameters turns k=v arguments into the wire form.
func parameters(args []string) (map[string]*valetkeyv1.Value, error) {
	values, err := pairs(args)
	if err != nil {
		return nil, fmt.Errorf("reading parameters: %w", err)
	}
	out := make(map[string]*valetkeyv1.Value, len(values))
	for k, vs := range values {
		out[k] = &valetkeyv1.Value{Values: vs}
	}
	return out, nil
}

// pairs reads k=v arguments. A key that comes more than once is a list; commas
// have no meaning, since values may hold them.
func pairs(args []string) (map[string][]string, error) {
	out := make(map[string][]string, len(args))
	for _, a := range args {
		k, v, ok := strings.Cut(a, "=")
		if !ok || k == "" {
			return nil, &usageError{fmt.Sprintf("%q is not of the form name=value", a)}
		}
		out[k] = append(out[k], v)
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
