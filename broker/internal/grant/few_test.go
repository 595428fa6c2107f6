package grant

import (
	"fmt"
	"strings"
	"testing"
)

func TestFewKeepsRecordsSmall(t *testing.T) {
	var many []string
	for i := range 300 {
		many = append(many, fmt.Sprintf("s3:Action%d: %s", i, strings.Repeat("é", 500)))
	}
	out := few(many)
	if len(out) != maxTierReasons+1 || out[maxTierReasons] != "and 295 more" {
		t.Errorf("%d reasons, the last %q", len(out), out[len(out)-1])
	}
	for _, r := range out {
		if len(r) > maxTierReasonBytes+len("...") || !strings.HasPrefix(r, "s3:") && !strings.HasPrefix(r, "and ") {
			t.Errorf("%q", r)
		}
	}
	if len(many) != 300 || !strings.HasSuffix(many[0], "é") {
		t.Error("the reasons themselves were cut")
	}
	if out := few([]string{"a"}); len(out) != 1 || out[0] != "a" {
		t.Errorf("%q", out)
	}
	if out := few(nil); len(out) != 0 {
		t.Errorf("%q", out)
	}
}
