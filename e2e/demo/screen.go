package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	enterScreen = "\x1b[?1049h\x1b[?25l"
	leaveScreen = "\x1b[?25h\x1b[?1049l"
	home        = "\x1b[H"
	clearRow    = "\x1b[K"
)

// screen shows views: on a terminal redrawn in place, else a line for each change.
type screen struct {
	out io.Writer
	// size of the terminal; nil if there is none.
	size  func() (width, height int)
	drawn bool
	log   *changes
}

func newScreen(out io.Writer, plainly bool) *screen {
	s := &screen{out: out, log: &changes{}}
	f, ok := out.(*os.File)
	if !ok || plainly || os.Getenv("TERM") == "dumb" {
		return s
	}
	fd := int(f.Fd())
	if _, err := unix.IoctlGetWinsize(fd, unix.TIOCGWINSZ); err != nil {
		return s
	}
	s.size = func() (int, int) {
		w, err := unix.IoctlGetWinsize(fd, unix.TIOCGWINSZ)
		if err != nil || w.Col == 0 || w.Row == 0 {
			return 80, 24
		}
		return int(w.Col), int(w.Row)
	}
	return s
}

func (s *screen) terminal() bool { return s.size != nil }

// say prints a line that stays.
func (s *screen) say(format string, args ...any) {
	s.leave()
	_, _ = fmt.Fprintf(s.out, "%s %s\n", time.Now().Format("15:04:05"), fmt.Sprintf(format, args...))
}

// print prints text that stays.
func (s *screen) print(text string) {
	s.leave()
	_, _ = io.WriteString(s.out, text)
}

// show shows a view.
func (s *screen) show(v view, now time.Time) {
	if !s.terminal() {
		for _, line := range s.log.of(v, now) {
			_, _ = fmt.Fprintf(s.out, "%s %s\n", now.Format("15:04:05"), line)
		}
		return
	}
	width, height := s.size()
	var b strings.Builder
	if !s.drawn {
		s.drawn = true
		b.WriteString(enterScreen)
	}
	b.WriteString(home)
	for i, r := range render(v, width, height) {
		if i > 0 {
			b.WriteString("\r\n")
		}
		b.WriteString(r.text(width, true) + clearRow)
	}
	_, _ = io.WriteString(s.out, b.String())
}

// leave gives the terminal back, with all that was there before.
func (s *screen) leave() {
	if s.drawn {
		s.drawn = false
		_, _ = io.WriteString(s.out, leaveScreen)
	}
}

// returns tells when the person pressed Return. It reads until the end of the input or of the program.
func returns(in io.Reader) <-chan struct{} {
	out := make(chan struct{})
	go func() {
		lines := bufio.NewScanner(in)
		for lines.Scan() {
			out <- struct{}{}
		}
	}()
	return out
}

// changes remembers what was told, line by line.
type changes struct {
	phase, note, checks string
	weight              int
	events, slack       int
	users               time.Time
}

// of lists what is new in a view. Users are told every ten seconds.
func (c *changes) of(v view, now time.Time) []string {
	var out []string
	tell := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	for _, e := range v.Events[min(c.events, len(v.Events)):] {
		tell("event    %s", e.Text)
	}
	if v.Phase != c.phase {
		tell("phase    %s: %s", v.Phase, v.Message)
	}
	if v.Weight != c.weight {
		tell("weight   %d %% at the canary, step %d/%d", v.Weight, v.Step, v.Steps)
	}
	var checks []string
	for _, r := range v.Checks {
		checks = append(checks, fmt.Sprintf("%s %s (limit %s) %s", r.Name, r.Value, r.Limit, r.Verdict))
	}
	if all := strings.Join(checks, ", "); all != c.checks {
		if c.checks = all; all != "" {
			tell("checks   %s", all)
		}
	}
	for _, e := range v.Slack[min(c.slack, len(v.Slack)):] {
		tell("slack    %s", e.Text)
	}
	if v.Note != c.note && v.Note != "" {
		tell("note     %s", v.Note)
	}
	if now.Sub(c.users) >= 10*time.Second && len(v.Users) > 0 {
		c.users = now
		var users []string
		for _, u := range v.Users {
			users = append(users, fmt.Sprintf("%s %.1f/s (%d, %s)", u.Version, u.Rate, u.Total, errorsOf(u.ServerErrors, u.ClientErrors)))
		}
		tell("users    %s", strings.Join(users, ", "))
	}
	c.phase, c.weight, c.note, c.events, c.slack = v.Phase, v.Weight, v.Note, len(v.Events), len(v.Slack)
	return out
}
