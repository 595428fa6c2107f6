package actions

import "strings"

// Nearest returns the known action that a misspelt name most likely means, as AWS spells it; empty where none is near: a
// third of the letters may differ, in the action's name or in the service's.
func Nearest(name string) string {
	service, action, _ := strings.Cut(name, ":")
	if service == "" || action == "" {
		return ""
	}
	best, least := "", len(name)/3+1
	for _, s := range Services() {
		away := distance(s, service, least)
		if away >= least {
			continue
		}
		for _, a := range load().under(s + ":") {
			if d := away + distance(a.Name[len(s)+1:], action, least-away); d < least {
				best, least = a.Name, d
			}
		}
	}
	return best
}

// distance counts the letters to add, take away, change or swap with the next one that make b of a, up to limit (optimal
// string alignment). Case does not count.
func distance(a, b string, limit int) int {
	if len(a)-len(b) >= limit || len(b)-len(a) >= limit {
		return limit
	}
	before, above, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range row {
		above[j] = j
	}
	for i := range len(a) {
		row[0] = i + 1
		least := row[0]
		for j := range len(b) {
			change := 1
			if lower(a[i]) == lower(b[j]) {
				change = 0
			}
			d := min(row[j]+1, above[j+1]+1, above[j]+change)
			if i > 0 && j > 0 && lower(a[i]) == lower(b[j-1]) && lower(a[i-1]) == lower(b[j]) {
				d = min(d, before[j-1]+1)
			}
			row[j+1] = d
			least = min(least, d)
		}
		if least > limit { // a swap can come back from one row above, never from more
			return limit
		}
		before, above, row = above, row, before
	}
	return min(above[len(b)], limit)
}
