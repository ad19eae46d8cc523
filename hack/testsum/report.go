package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"
)

// event is one line of go test -json.
type event struct {
	Action      string  `json:"Action"`
	Package     string  `json:"Package"`
	ImportPath  string  `json:"ImportPath"`
	Test        string  `json:"Test"`
	Output      string  `json:"Output"`
	Elapsed     float64 `json:"Elapsed"`
	FailedBuild string  `json:"FailedBuild"`
}

// report follows the events of one suite.
type report struct {
	out    io.Writer
	tests  map[string]map[string]string // package, test: the last action
	output map[string]*strings.Builder  // package and test: what it printed
	broken map[string]bool              // packages that failed by themselves
	said   time.Time
	logs   bool // show what passing tests log
	// figures that tests logged as "figures: …"; they end the suite's last line.
	figures []string
}

// quiet is how long nothing is said at most.
const quiet = 30 * time.Second

func newReport(out io.Writer) *report {
	return &report{out: out, tests: map[string]map[string]string{}, output: map[string]*strings.Builder{}, broken: map[string]bool{}, said: time.Now()}
}

func (r *report) read(events io.Reader) {
	lines := bufio.NewReader(events)
	for {
		line, err := lines.ReadBytes('\n')
		var e event
		switch {
		case len(line) == 0:
		case json.Unmarshal(line, &e) != nil:
			_, _ = r.out.Write(line) // not an event: go's own words
		default:
			r.take(e)
		}
		if err != nil {
			return
		}
	}
}

func (r *report) take(e event) {
	key := e.Package + " " + e.Test
	switch e.Action {
	case "output":
		r.buffer(key).WriteString(e.Output)
	case "build-output":
		r.say("%s", e.Output)
	case "run", "pass", "fail", "skip":
		if e.Test == "" {
			r.endPackage(e)
			return
		}
		if r.tests[e.Package] == nil {
			r.tests[e.Package] = map[string]string{}
		}
		r.tests[e.Package][e.Test] = e.Action
		r.endTest(e, key)
	}
	if time.Since(r.said) > quiet {
		r.say("... %s %s\n", short(e.Package), e.Test)
	}
}

func (r *report) endTest(e event, key string) {
	if e.Action == "fail" {
		r.say("--- FAIL: %s %s (%.1fs)\n%s", short(e.Package), e.Test, e.Elapsed, r.buffer(key))
	}
	if e.Action != "run" && r.logs {
		r.endLog(e, r.buffer(key).String())
	}
	if e.Action != "run" && e.Action != "skip" {
		delete(r.output, key)
	}
}

// endLog shows what a passing test logged, but for the figures, which come last.
func (r *report) endLog(e event, printed string) {
	for line := range strings.Lines(printed) {
		if _, figures, ok := strings.Cut(line, ": figures: "); ok {
			r.figures = append(r.figures, strings.TrimSpace(figures))
			continue
		}
		if e.Action == "pass" && strings.Contains(line, "_test.go:") {
			r.say("%s %s", e.Test, strings.TrimLeft(line, " "))
		}
	}
}

func (r *report) endPackage(e event) {
	n := len(leaves(r.tests[e.Package]))
	switch e.Action {
	case "pass":
		r.say("ok   %s (%d tests, %.1fs)\n", short(e.Package), n, e.Elapsed)
	case "fail":
		r.say("FAIL %s (%.1fs)\n", short(e.Package), e.Elapsed)
		r.endBroken(e)
	}
	delete(r.output, e.Package+" ")
}

// endBroken tells what no single test is to blame for: a panic, a deadline, code that does not compile.
func (r *report) endBroken(e event) {
	blamed := false
	for test, action := range r.tests[e.Package] {
		switch action {
		case "fail":
			blamed = true
		case "run":
			r.say("--- did not end: %s %s\n%s", short(e.Package), test, r.buffer(e.Package+" "+test))
		}
	}
	if !blamed {
		r.broken[e.Package] = true
		r.say("%s", r.buffer(e.Package+" "))
	}
}

func (r *report) buffer(key string) *strings.Builder {
	if r.output[key] == nil {
		r.output[key] = &strings.Builder{}
	}
	return r.output[key]
}

func (r *report) say(format string, args ...any) {
	_, _ = fmt.Fprintf(r.out, format, args...)
	r.said = time.Now()
}

// finish counts. A run that failed without a failed test counts as one failure, so that no total hides it.
func (r *report) finish(name string, took time.Duration, failed bool) counts {
	c := counts{Name: name, Seconds: int(took.Seconds())}
	for _, pkg := range slices.Sorted(maps.Keys(r.tests)) {
		tests := r.tests[pkg]
		for _, test := range leaves(tests) {
			full := short(pkg) + " " + test
			switch tests[test] {
			case "pass":
				c.Passed++
			case "skip":
				c.Skipped = append(c.Skipped, full+because(r.output[pkg+" "+test]))
			default:
				c.Failed++
				c.Failures = append(c.Failures, full)
			}
		}
	}
	for _, pkg := range slices.Sorted(maps.Keys(r.broken)) {
		c.Failed++
		c.Failures = append(c.Failures, short(pkg))
	}
	if failed && c.Failed == 0 {
		c.Failed, c.Failures = 1, []string{name}
	}
	return c
}

// because is the reason that a skipped test gave.
func because(printed *strings.Builder) string {
	if printed == nil {
		return ""
	}
	for line := range strings.Lines(printed.String()) {
		text := strings.TrimSpace(line)
		if text != "" && !strings.HasPrefix(text, "===") && !strings.HasPrefix(text, "---") {
			return ": " + text
		}
	}
	return ""
}

// leaves are the tests that have no subtests, and those that failed although no subtest of theirs did.
func leaves(tests map[string]string) []string {
	parents, guilty := map[string]bool{}, map[string]bool{}
	for test, action := range tests {
		for i := strings.LastIndexByte(test, '/'); i >= 0; i = strings.LastIndexByte(test[:i], '/') {
			parents[test[:i]] = true
			guilty[test[:i]] = guilty[test[:i]] || action != "pass" && action != "skip"
		}
	}
	var out []string
	for _, test := range slices.Sorted(maps.Keys(tests)) {
		if !parents[test] || tests[test] == "fail" && !guilty[test] {
			out = append(out, test)
		}
	}
	return out
}
