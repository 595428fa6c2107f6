package main

import (
	"bufio"
	"bytes"
	"fmt"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// policyBenchmarks are row (i): the packages' own benchmarks, run one after another. The last stands in a module of
// its own, since it is about another implementation of IAM's evaluation, which is the reference.
var policyBenchmarks = []struct{ dir, pattern string }{ // read-only
	{"testdata/iam/oracle", "Prepared|FromText|Oracle"},
	{"scopes/iam", "Covers|Shrink|Diff|Assess"},
	{"scopes/actions", "Load"},
	{"scopes", "."},
}

var benchLine = regexp.MustCompile(`^Benchmark(\S+?)(?:-\d+)?\s+\d+\s+([0-9.]+) ns/op(?:\s+(\d+) B/op)?`)

// judging is row (i): what the library of policies costs. Its times are means.
func (t *bench) judging() {
	for _, b := range policyBenchmarks {
		cmd := exec.CommandContext(t.ctx, "go", "test", "-run", "^$", "-bench", b.pattern, "-benchmem",
			"-benchtime", (t.each / 4).String(), ".")
		cmd.Dir = b.dir
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("(i) go test -bench in %s: %v\n%s", b.dir, err, out)
		}
		found := 0
		for lines := bufio.NewScanner(bytes.NewReader(out)); lines.Scan(); {
			m := benchLine.FindStringSubmatch(lines.Text())
			if m == nil {
				continue
			}
			found++
			ns, err := strconv.ParseFloat(m[2], 64)
			t.must(err)
			name := strings.ReplaceAll(m[1], "_", " ")
			if b.dir != "testdata/iam/oracle" || m[1] != "Oracle" {
				name = "**" + name + "**"
			}
			fmt.Printf("| i | %s: %s | 1 | %.0f | %s | |\n", b.dir, name, 1e9/ns, short(time.Duration(ns)))
		}
		if found == 0 {
			t.Fatalf("(i) no benchmark in %s matches %q", b.dir, b.pattern)
		}
	}
}
