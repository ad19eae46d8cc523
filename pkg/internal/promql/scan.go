// Package promql rewrites the label matchers of PromQL queries.
//
//   - scan.go finds the selectors of a query, {label="value", ...}, and leaves everything else as it is.
//   - pods.go knows how pods are named, and which labels of series name pods and workloads.
//   - target.go answers a query that tells the versions of an app apart in Flagger's way for the pods of a clone.
//
// It is a scanner and no parser: braces occur in PromQL in selectors, strings and comments only. What it does not
// understand it copies, so that the server, which does, tells what is wrong.
package promql

import (
	"strconv"
	"strings"
)

// Matcher compares a label of a series with a value.
type Matcher struct {
	// Label is the name of the label, without quotes.
	Label string
	// Op is =, !=, =~ or !~.
	Op string
	// Value is the text or, for =~ and !~, the regular expression, without quotes.
	Value string
}

// String is the matcher in PromQL.
func (m Matcher) String() string { return label(m.Label) + m.Op + strconv.Quote(m.Value) }

func label(name string) string {
	if name == "" || strings.ContainsFunc(name, func(r rune) bool { return !inName(r) }) || isDigit(name[0]) {
		return strconv.Quote(name)
	}
	return name
}

// Edit is the change of a selector.
type Edit struct {
	// Replace are the matchers that take the place of others, by their index.
	Replace map[int]Matcher
	// Add are further matchers.
	Add []Matcher
}

// Rewrite has edit look at the matchers of each selector of query, and changes what it says. A query in which nothing
// is changed is returned byte by byte as it was.
func Rewrite(query string, edit func(selector []Matcher) Edit) string {
	var out strings.Builder
	rest := query
	for rest != "" {
		n := skip(rest)
		if n == 0 {
			s, ok := parse(rest)
			if !ok { // no selector that is known: the brace is copied, and what follows is looked at
				out.WriteByte(rest[0])
				rest = rest[1:]
				continue
			}
			s.write(&out, edit(s.matchers))
			n = s.length
		} else {
			out.WriteString(rest[:n])
		}
		rest = rest[n:]
	}
	return out.String()
}

// skip returns the length of what begins text and is no selector; 0 if one begins here.
func skip(text string) int {
	switch text[0] {
	case '{':
		return 0
	case '#':
		if i := strings.IndexByte(text, '\n'); i >= 0 {
			return i + 1
		}
		return len(text)
	case '"', '\'', '`':
		return quoted(text)
	}
	if i := strings.IndexAny(text, "{#\"'`"); i > 0 {
		return i
	}
	return len(text)
}

// quoted returns the length of the string that begins text, with its quotes; all of text if it does not end.
func quoted(text string) int {
	for i := 1; i < len(text); i++ {
		switch {
		case text[i] == '\\' && text[0] != '`':
			i++
		case text[i] == text[0]:
			return i + 1
		}
	}
	return len(text)
}

// unquote returns the value of a string with its quotes.
func unquote(text string) (string, bool) {
	if len(text) < 2 || text[0] != text[len(text)-1] {
		return "", false
	}
	if text[0] == '\'' { // Go has no such strings
		inner := strings.ReplaceAll(text[1:len(text)-1], `\'`, `'`)
		text = `"` + strings.ReplaceAll(strings.ReplaceAll(inner, `\"`, `"`), `"`, `\"`) + `"`
	}
	value, err := strconv.Unquote(text)
	return value, err == nil
}

// selector is the text from { to }.
type selector struct {
	text     string
	length   int
	matchers []Matcher
	// from and to are the places of the matchers in text.
	from, to []int
	// comma tells that the last one is followed by a comma, or that there is none.
	comma bool
}

func (s *selector) write(out *strings.Builder, e Edit) {
	if len(e.Replace) == 0 && len(e.Add) == 0 {
		out.WriteString(s.text)
		return
	}
	at := 0
	for i := range s.matchers {
		m, ok := e.Replace[i]
		if !ok {
			continue
		}
		out.WriteString(s.text[at:s.from[i]] + m.String())
		at = s.to[i]
	}
	out.WriteString(s.text[at : s.length-1])
	for i, m := range e.Add {
		if i > 0 || !s.comma {
			out.WriteByte(',')
		}
		out.WriteString(m.String())
	}
	out.WriteByte('}')
}

// scanner reads a selector.
type scanner struct {
	text string
	at   int
}

func (s *scanner) space() {
	for s.at < len(s.text) && strings.IndexByte(" \t\r\n", s.text[s.at]) >= 0 {
		s.at++
	}
}

func (s *scanner) next(token string) bool {
	s.space()
	if strings.HasPrefix(s.text[s.at:], token) {
		s.at += len(token)
		return true
	}
	return false
}

// text reads a string.
func (s *scanner) str() (string, bool) {
	s.space()
	if s.at >= len(s.text) || strings.IndexByte("\"'`", s.text[s.at]) < 0 {
		return "", false
	}
	n := quoted(s.text[s.at:])
	value, ok := unquote(s.text[s.at : s.at+n])
	s.at += n
	return value, ok
}

// name reads the name of a label, which may be in quotes.
func (s *scanner) name() (name string, inQuotes, ok bool) {
	if name, ok = s.str(); ok {
		return name, true, true
	}
	begin := s.at
	for s.at < len(s.text) && inName(s.text[s.at]) {
		s.at++
	}
	return s.text[begin:s.at], false, s.at > begin
}

func (s *scanner) op() string {
	for _, op := range []string{"=~", "!~", "!=", "="} {
		if s.next(op) {
			return op
		}
	}
	return ""
}

// parse reads the selector that begins text.
func parse(text string) (selector, bool) {
	s, sel := &scanner{text: text, at: 1}, selector{comma: true}
	for !s.next("}") {
		if !sel.comma {
			return selector{}, false
		}
		s.space()
		begin := s.at
		name, inQuotes, ok := s.name()
		if !ok {
			return selector{}, false
		}
		op := s.op()
		if op == "" { // the name of a metric in quotes
			if !inQuotes {
				return selector{}, false
			}
			sel.comma = s.next(",")
			continue
		}
		value, ok := s.str()
		if !ok {
			return selector{}, false
		}
		sel.matchers = append(sel.matchers, Matcher{name, op, value})
		sel.from, sel.to = append(sel.from, begin), append(sel.to, s.at)
		sel.comma = s.next(",")
	}
	sel.text, sel.length = text[:s.at], s.at
	return sel, true
}

func inName[C byte | rune](c C) bool {
	return c == '_' || isDigit(c) || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

func isDigit[C byte | rune](c C) bool { return '0' <= c && c <= '9' }
