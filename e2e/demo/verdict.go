package main

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

const (
	// promotionSlack is what a release may take beyond its steps: the pull, the pods, the promotion.
	promotionSlack = 20 * time.Second
	// offLimit is how long after the failing check a user may still meet the bad version.
	offLimit = 5 * time.Second
)

// release is what one commit came to.
type release struct {
	Version string
	Commit  string
	// Took is the time from the push to the end.
	Took  time.Duration
	Phase string
	// Cause of a rollback.
	Cause string
	// StatusCommit and StatusAuthor are what the Canary's status tells of it.
	StatusCommit, StatusAuthor string
	// DecidedAt is when the rollback was decided; LastSeen when the last user request that the version answered was sent.
	DecidedAt, LastSeen time.Time
}

// facts are what a verdict is made of.
type facts struct {
	Interval  time.Duration
	Good, Bad release
	Stable    string // commit of the stable revision at the end
	Users     []tally
	Faults    []string
	Slack     []notice
	// Gateway counts Traefik's own answers by Service and code.
	Gateway map[string]map[string]int
}

// finding is one line of the verdict.
type finding struct {
	OK     bool
	What   string
	Detail string
}

// judge makes the findings; the demo went as told if all are OK.
func judge(f facts) []finding {
	return slices.Concat([]finding{judgeGood(f), judgeBad(f), judgeOff(f), judgeUsers(f), judgeGateway(f), judgeStatus(f)}, judgeSlack(f))
}

func judgeGood(f facts) finding {
	limit := steps*f.Interval + promotionSlack
	return finding{
		OK:   f.Good.Phase == "Succeeded" && f.Good.Took <= limit,
		What: "the good version was promoted",
		Detail: fmt.Sprintf("%s ended as %s, %.1f s after the push (limit %.0f s: %d steps of %s and %.0f s)", f.Good.Version,
			f.Good.Phase, f.Good.Took.Seconds(), limit.Seconds(), steps, f.Interval, promotionSlack.Seconds()),
	}
}

func judgeBad(f facts) finding {
	detail := fmt.Sprintf("%s ended as %s, %.1f s after the push", f.Bad.Version, f.Bad.Phase, f.Bad.Took.Seconds())
	if f.Bad.Cause != "" {
		detail += ": " + f.Bad.Cause
	}
	return finding{OK: f.Bad.Phase == "Failed" && strings.Contains(f.Bad.Cause, "request-success-rate"), What: "the bad version was rolled back", Detail: detail}
}

func judgeOff(f facts) finding {
	what := "users were off the bad version soon"
	if f.Bad.DecidedAt.IsZero() || f.Bad.LastSeen.IsZero() {
		return finding{What: what, Detail: "no rollback was seen, or no user met the bad version"}
	}
	after := f.Bad.LastSeen.Sub(f.Bad.DecidedAt)
	return finding{
		OK: after <= offLimit, What: what,
		Detail: fmt.Sprintf("the last request that it answered was sent %+.2f s after the failing check (limit %.0f s)", after.Seconds(), offLimit.Seconds()),
	}
}

func judgeUsers(f facts) finding {
	total, faults := 0, 0
	var parts []string
	met := map[string]bool{}
	for _, t := range f.Users {
		total, faults = total+t.Total, faults+t.Faults
		parts = append(parts, fmt.Sprintf("%s %d (%s)", t.Version, t.Total, errorsOf(t.ServerErrors, t.ClientErrors)))
		met[t.Version] = t.Total > 0
	}
	detail := fmt.Sprintf("%d requests: %s; %d failures that are not the bad version's own", total, strings.Join(parts, ", "), faults)
	if len(f.Faults) > 0 {
		detail += ", first: " + f.Faults[0]
	}
	return finding{OK: faults == 0 && met[f.Good.Version] && met[f.Bad.Version], What: "no user request failed because of Siskin", Detail: detail}
}

// judgeGateway compares with what the gateway itself counted: the primary never answered badly.
func judgeGateway(f facts) finding {
	out := finding{What: "the gateway's own series agree"}
	var parts []string
	for _, role := range []string{app + "-primary", app + "-canary"} {
		good, server, client := 0, 0, 0
		for code, n := range f.Gateway[role] {
			switch {
			case strings.HasPrefix(code, "2"):
				good += n
			case strings.HasPrefix(code, "4"):
				client += n
			default:
				server += n
			}
		}
		parts = append(parts, fmt.Sprintf("%s %d good, %s", role, good, errorsOf(server, client)))
		if role == app+"-primary" {
			out.OK = good > 0 && server+client == 0
		} else if server == 0 {
			out.OK = false // the bad version's errors are missing
		}
	}
	out.Detail = strings.Join(parts, "; ")
	return out
}

func judgeStatus(f facts) finding {
	ok := f.Stable != "" && strings.HasSuffix(f.Stable, f.Good.Commit) && strings.HasSuffix(f.Bad.StatusCommit, f.Bad.Commit) &&
		f.Good.Commit != "" && f.Bad.Commit != "" && f.Bad.StatusAuthor == author
	return finding{
		OK: ok, What: "status names the commits and their author",
		Detail: fmt.Sprintf("stable %s; taken back %s by %s", shortCommit(f.Stable), shortCommit(f.Bad.StatusCommit), f.Bad.StatusAuthor),
	}
}

// judgeSlack looks for the notices, each with what it must tell.
func judgeSlack(f facts) []finding {
	common := []string{"Revision", "Image", "Commit", "Author", "Change"}
	var out []finding
	for _, want := range []struct {
		title  string
		of     release
		fields []string
	}{
		{"New revision", f.Good, common},
		{"Promoted", f.Good, common},
		{"New revision", f.Bad, common},
		{"Rolling back", f.Bad, append([]string{"Check", "Value", "Limit"}, common...)},
	} {
		out = append(out, judgeNotice(f.Slack, want.title, want.of, want.fields))
	}
	return out
}

func judgeNotice(all []notice, title string, of release, fields []string) finding {
	out := finding{What: fmt.Sprintf("Slack: %s, %s", strings.ToLower(title), of.Version), Detail: "no such notice"}
	for _, n := range all {
		commit := n.Fields["Commit"]
		_, hash, _ := strings.Cut(commit, "@")
		if !strings.HasSuffix(n.Title, ": "+title) || (hash != "" && !strings.HasPrefix(of.Commit, hash)) {
			continue
		}
		var missing, have []string
		for _, name := range fields {
			switch value := n.Fields[name]; {
			case value == "", name == "Author" && value != author:
				missing = append(missing, name)
			case name != "Change":
				have = append(have, value)
			}
		}
		out.OK, out.Detail = len(missing) == 0, strings.Join(have, ", ")
		if !out.OK {
			out.Detail = "without " + strings.Join(missing, ", ") + ": " + out.Detail
		}
		return out
	}
	return out
}

// table prints findings, the details below them if the lines are to be short.
func table(findings []finding, short bool) string {
	var b strings.Builder
	width := 0
	for _, f := range findings {
		width = max(width, len(f.What))
	}
	for _, f := range findings {
		word := "ok  "
		if !f.OK {
			word = "FAIL"
		}
		if short {
			fmt.Fprintf(&b, "  %s  %s\n        %s\n", word, f.What, f.Detail)
			continue
		}
		fmt.Fprintf(&b, "  %s  %-*s  %s\n", word, width, f.What, f.Detail)
	}
	return b.String()
}

func allOK(findings []finding) bool {
	return !slices.ContainsFunc(findings, func(f finding) bool { return !f.OK })
}
