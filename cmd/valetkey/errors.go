package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/valetkey/valetkey/clients/logverify"
	"github.com/valetkey/valetkey/clients/valetkey"
	valetkeyv1 "github.com/valetkey/valetkey/proto/valetkey/v1"
)

// Outcomes that are no error of a call, and still not success.
var (
	errDenied        = errors.New("denied")
	errNeedsApproval = errors.New("needs approval")
	errTables        = errors.New("the policy tables do not hold")
)

// exitCode gives the code that an error leaves with.
func exitCode(err error) int {
	var a *answerError
	var s *statusError
	switch {
	case errors.As(err, &s):
		return s.code
	case errors.As(err, &a):
		return a.code
	case errors.Is(err, logverify.ErrVerification), errors.Is(err, errTables):
		return exitVerification
	case errors.Is(err, errNeedsApproval):
		return exitNeedsApproval
	case errors.Is(err, errDenied):
		return exitDenied
	}
	r, ok := valetkey.RefusalOf(err)
	if !ok {
		return exitError
	}
	switch r.Reason.Kind() {
	case valetkeyv1.ReasonWaiting:
		return exitNeedsApproval
	case valetkeyv1.ReasonDenied, valetkeyv1.ReasonLimited:
		return exitDenied
	default:
		return exitError
	}
}

// printError says what went wrong and what to do next. What others wrote, such as the names of files, drives no
// terminal.
func printError(w io.Writer, err error) {
	var b strings.Builder
	writeError(&b, err)
	for line := range strings.Lines(b.String()) {
		_, _ = fmt.Fprintln(w, clean(strings.TrimSuffix(line, "\n")))
	}
}

func writeError(w io.Writer, err error) {
	if a := (*answerError)(nil); errors.As(err, &a) && a.text == "" {
		return // the answer itself has been printed
	}
	if s := (*statusError)(nil); errors.As(err, &s) && s.err == nil {
		return // what ran has said what there is to say
	}
	r, ok := valetkey.RefusalOf(err)
	if !ok {
		_, _ = fmt.Fprintf(w, "valetkey: %v\n", plain(err))
		if status.Code(err) == codes.Unavailable || errors.Is(err, valetkey.ErrUnavailable) {
			_, _ = fmt.Fprintln(w, "Next: check --broker and --broker-id, and that the broker is running.")
		}
		if errors.Is(err, valetkey.ErrReceipt) {
			_, _ = fmt.Fprintln(w, "Next: check --ledger-key. If it is right, use nothing of this broker and tell its operator; valetkey release ends the grant.")
		}
		return
	}
	_, _ = fmt.Fprintf(w, "valetkey: %s: %s\n", r.ReasonName(), clean(r.Message))
	for _, k := range slices.Sorted(maps.Keys(r.Details)) {
		_, _ = fmt.Fprintf(w, "  %s: %s\n", clean(k), clean(r.Details[k]))
	}
	for _, n := range r.Needs {
		_, _ = fmt.Fprintf(w, "  needs: %s\n", clean(n.String()))
	}
	next := r.Reason.Advice()
	if nw := (*noWaitError)(nil); errors.As(err, &nw) {
		next = "say --wait, to start the command once they have approved. Without it the request ended here."
	}
	if next != "" {
		_, _ = fmt.Fprintf(w, "Next: %s\n", next)
	}
}

// plain drops the frame that gRPC puts around an error text. What comes over the wire is one line, whoever is there.
func plain(err error) string {
	switch s, ok := status.FromError(err); {
	case ok && s.Code() != codes.Unknown:
		return clean(fmt.Sprintf("%s: %s", s.Code(), s.Message()))
	case ok:
		return clean(err.Error())
	}
	return err.Error()
}
