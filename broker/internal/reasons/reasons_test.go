package reasons

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	valetkeyv1 "github.com/valetkey/valetkey/proto/valetkey/v1"
)

func TestNoRowHidesAnother(t *testing.T) {
	for _, r := range table {
		if got := rowOf(fmt.Errorf("doing: %w", r.err)); got != r {
			t.Errorf("%v is answered as %v", r.err, got.err)
		}
	}
}

func TestEveryReasonIsSomeErrors(t *testing.T) {
	have := map[valetkeyv1.ErrorReason]bool{valetkeyv1.ErrorReason_ERROR_REASON_UNSPECIFIED: true} // never sent
	for _, r := range table {
		have[r.reason] = true
	}
	for n, name := range valetkeyv1.ErrorReason_name {
		if !have[valetkeyv1.ErrorReason(n)] {
			t.Errorf("no error is answered with %s", name)
		}
	}
}

// inside are the sentinels that reach no caller as they are, and why.
var inside = map[string]string{
	"scopes.ErrCeiling": "is an ErrCatalog", "scopes.ErrDialect": "is an ErrCatalog", "scopes.ErrEmpty": "is found when a catalog is loaded; later it is a fault",
	"evidence.ErrStatement": "comes as quorum.ErrEvidence", "evidence.ErrSignature": "comes as quorum.ErrEvidence",
	"evidence.ErrKey": "is of a config that is read at the start", "ledger.ErrKey": "is of a key that is read at the start",
	"ledger.ErrHistory": "is found at the start", "ledger.ErrNotDurable": "is of a zero value, which is a fault",
	"guard.ErrNoAdmission": "is of a zero value, which is a fault", "quorum.ErrNoClearance": "is of a zero value, which is a fault",
	"identity.ErrNoJWT": "is of the broker's own SVID", "listen.ErrGone": "is of a peer that has gone",
	"repeats.ErrUnreadable": "is a store.ErrDamaged",
	"store.ErrNotFound":     "is said by who looked for it: a task, a grant, a record", "revocation.ErrNoOwners": "comes as grant.ErrInvalid",
	"awssts.ErrForeign": "is a mint.ErrRefused", "awssts.ErrPolicySize": "is a mint.ErrTooLarge", "awssts.ErrTag": "is a mint.ErrTooLarge",
	"awssts.ErrRoleMaximum": "is a mint.ErrLifetime", "awssts.ErrChaining": "is a mint.ErrLifetime", "awssts.ErrPast": "is a mint.ErrLifetime",
	"upstream.ErrNotConnected": "comes with mint.ErrUnavailable",
}

// TestEverySentinelHasARow reads the sources of the broker and of what it is built on.
func TestEverySentinelHasARow(t *testing.T) {
	files, err := filepath.Glob("../../../scopes/*.go")
	if err != nil {
		t.Fatal(err)
	}
	err = filepath.WalkDir("../..", func(path string, _ fs.DirEntry, err error) error {
		files = append(files, path)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	sentinels := map[string]bool{}
	for _, path := range files {
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, decl := range f.Decls {
			g, ok := decl.(*ast.GenDecl)
			if !ok || g.Tok != token.VAR {
				continue
			}
			for _, spec := range g.Specs {
				for _, name := range spec.(*ast.ValueSpec).Names {
					if strings.HasPrefix(name.Name, "Err") {
						sentinels[f.Name.Name+"."+name.Name] = true
					}
				}
			}
		}
	}
	source, err := os.ReadFile("reasons.go")
	if err != nil {
		t.Fatal(err)
	}
	for name := range sentinels {
		rows := strings.Count(string(source), "\t{"+name+",")
		if why, kept := inside[name]; rows != 1 && !kept || kept && (rows != 0 || why == "") {
			t.Errorf("%s has %d rows; that it needs none is said by: %q", name, rows, why)
		}
	}
	for name := range inside {
		if !sentinels[name] {
			t.Errorf("there is no %s", name)
		}
	}
	if len(sentinels) < 50 {
		t.Errorf("%d sentinels were found", len(sentinels))
	}
}
