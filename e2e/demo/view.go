package main

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

// view is all that the terminal shows.
type view struct {
	// Up is how long the demo runs.
	Up time.Duration
	// Story is what was done and what goes on.
	Story []chapter
	// Phase and Message are the Canary's.
	Phase, Message string
	Weight         int
	Step, Steps    int
	// NextCheck is the time until the check of the step; negative if none is due.
	NextCheck         time.Duration
	Failed, Threshold int
	Stable, Canary    revision
	Checks            []check
	Users             []userRow
	// Note is what the person should know or do.
	Note          string
	Events, Slack []entry
	Footer        string
}

type chapter struct {
	Text string
	// State is "" for what is to come, "now", "ok" or "bad".
	State string
}

type revision struct{ Name, Commit, Author, Change string }

type check struct{ Name, Value, Limit, Verdict string }

type userRow struct {
	Version                    string
	Rate                       float64
	Total                      int
	ServerErrors, ClientErrors int
	// Fault : these errors are nobody's but the system's.
	Fault bool
}

type entry struct {
	At   time.Time
	Text string
	// Bad is coloured.
	Bad bool
}

const (
	plain  = ""
	bold   = "1"
	dim    = "2"
	red    = "31"
	green  = "32"
	yellow = "33"
	cyan   = "36"
)

type span struct{ style, text string }

type row []span

// text returns the row in at most width columns; with colour if asked for.
func (r row) text(width int, colour bool) string {
	var b strings.Builder
	left := width
	for _, s := range r {
		t := fit(s.text, left)
		left -= utf8.RuneCountInString(t)
		if colour && s.style != plain && t != "" {
			t = "\x1b[" + s.style + "m" + t + "\x1b[0m"
		}
		b.WriteString(t)
	}
	return b.String()
}

// fit cuts a text to n columns.
func fit(s string, n int) string {
	switch {
	case n <= 0:
		return ""
	case utf8.RuneCountInString(s) <= n:
		return s
	}
	return string([]rune(s)[:n-1]) + "…"
}

// pad makes a text exactly n columns wide.
func pad(s string, n int) string {
	s = fit(s, n)
	return s + strings.Repeat(" ", n-utf8.RuneCountInString(s))
}

func one(style, text string) row { return row{{style, text}} }

// render lays the view out in at most height rows.
func render(v view, width, height int) []row {
	width, height = max(width, 72), max(height, 1) // what is narrower is cut, not squeezed
	rows := []row{header(v, width), storyRow(v), nil, phaseRow(v), barRow(v, width), revisionRow("stable", v.Stable), revisionRow("canary", v.Canary)}
	rows = append(rows, one(plain, " "+v.Message))
	if v.Note != "" {
		rows = append(rows, one(yellow, " ! "+v.Note))
	} else {
		rows = append(rows, nil)
	}
	rows = append(rows, tables(v, width)...)
	rows = append(rows, totalRow(v), nil)
	// What is left is shared by events and Slack; both have a heading.
	left := height - len(rows) - 3
	slack := min(len(v.Slack), max(left*2/5, 1))
	rows = append(rows, entries("EVENTS", v.Events, left-slack, true)...)
	rows = append(rows, entries("SLACK #"+channel, v.Slack, slack, false)...)
	for len(rows) < height-1 {
		rows = append(rows, nil)
	}
	return append(rows[:min(len(rows), height-1)], one(dim, " "+v.Footer))
}

func header(v view, width int) row {
	up := v.Up.Round(time.Second).String() + " "
	return row{{bold, pad(" Siskin releases podinfo", width-len(up))}, {dim, up}}
}

func storyRow(v view) row {
	var r row
	for _, c := range v.Story {
		switch c.State {
		case "ok":
			r = append(r, span{green, " ✓ "}, span{plain, c.Text + " "})
		case "bad":
			r = append(r, span{red, " ✗ "}, span{plain, c.Text + " "})
		case "now":
			r = append(r, span{cyan, " ▸ "}, span{bold, c.Text + " "})
		default:
			r = append(r, span{dim, " · " + c.Text + " "})
		}
	}
	return r
}

func phaseRow(v view) row {
	r := row{{plain, " "}, {bold + ";" + phaseStyle(v.Phase), pad(v.Phase, 16)}}
	if v.Step > 0 {
		r = append(r, span{plain, fmt.Sprintf("  step %d/%d", v.Step, v.Steps)})
	}
	if v.NextCheck >= 0 {
		r = append(r, span{plain, fmt.Sprintf("  next check in %2.0f s", v.NextCheck.Seconds())})
	}
	if v.Threshold > 0 {
		r = append(r, span{dim, fmt.Sprintf("  failed checks %d of %d", v.Failed, v.Threshold)})
	}
	return r
}

func phaseStyle(phase string) string {
	switch phase {
	case "Initialized", "Succeeded":
		return green
	case "RollingBack", "Failed":
		return red
	}
	return cyan
}

func barRow(v view, width int) row {
	cells := min(width-30, 60)
	full := v.Weight * cells / 100
	return row{
		{plain, " weight "},
		{cyan, strings.Repeat("█", full)},
		{dim, strings.Repeat("░", cells-full)},
		{bold, fmt.Sprintf(" %d %% at the canary", v.Weight)},
	}
}

func revisionRow(role string, r revision) row {
	text := r.Name
	if r.Commit != "" {
		text += "  " + r.Commit + "  " + r.Author + ": " + r.Change
	}
	return row{{dim, " " + role + " "}, {plain, text}}
}

// tables are the checks on the left and the users on the right.
func tables(v view, width int) []row {
	const right = 36
	left := width - right
	name := left - 22
	rows := []row{{
		{dim, pad(" CHECK", name) + pad("VALUE", 8) + pad("LIMIT", 8) + pad("", 6)},
		{dim, pad("USERS", 10) + fmt.Sprintf("%6s %7s %5s %5s", "req/s", "total", "5xx", "4xx")},
	}}
	for i := range max(len(v.Checks), len(v.Users)) {
		r := row{{plain, strings.Repeat(" ", left)}}
		if i < len(v.Checks) {
			c := v.Checks[i]
			r = row{{plain, pad(" "+c.Name, name) + pad(short(c.Value), 8) + pad(c.Limit, 8)}, {verdictStyle(c.Verdict), pad(c.Verdict, 6)}}
		}
		if i < len(v.Users) {
			u := v.Users[i]
			style := plain
			if u.ServerErrors+u.ClientErrors > 0 {
				style = yellow
			}
			if u.Fault {
				style = red
			}
			r = append(r, span{plain, pad(u.Version, 10) + fmt.Sprintf("%6.1f %7d ", u.Rate, u.Total)},
				span{style, fmt.Sprintf("%5d %5d", u.ServerErrors, u.ClientErrors)})
		}
		rows = append(rows, r)
	}
	return rows
}

// totalRow sums up what the users saw.
func totalRow(v view) row {
	total, server, client := 0, 0, 0
	var of []string
	for _, u := range v.Users {
		total, server, client = total+u.Total, server+u.ServerErrors, client+u.ClientErrors
		if u.ServerErrors+u.ClientErrors > 0 {
			of = append(of, u.Version)
		}
	}
	text := fmt.Sprintf(" users sent %d requests and saw %s", total, errorsOf(server, client))
	if len(of) > 0 {
		text += ", all of " + strings.Join(of, " and ")
	}
	return one(dim, text)
}

// short cuts a long number.
func short(value string) string { return fit(value, 7) }

func verdictStyle(verdict string) string {
	switch verdict {
	case "pass":
		return green
	case "fail":
		return red
	}
	return yellow
}

// entries shows the last n; if fill, a short list still takes its n rows.
func entries(title string, list []entry, n int, fill bool) []row {
	n = max(n, 0)
	rows := []row{one(dim, " "+title)}
	for _, e := range list[max(len(list)-n, 0):] {
		style := plain
		if e.Bad {
			style = red
		}
		rows = append(rows, row{{dim, " " + e.At.Format("15:04:05") + " "}, {style, e.Text}})
	}
	for fill && len(rows) < n+1 {
		rows = append(rows, nil)
	}
	return rows
}
