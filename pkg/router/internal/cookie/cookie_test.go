package cookie_test

import (
	"regexp"
	"testing"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/router/internal/cookie"
)

// Each attribute has a row in which it alone is given, so that one that is ignored is noticed.
func TestSet(t *testing.T) {
	for name, c := range map[string]struct {
		given siskinv1.SessionAffinity
		want  string
	}{
		"defaults":      {siskinv1.SessionAffinity{}, "c=v; Path=/; Max-Age=86400; HttpOnly; SameSite=Lax"},
		"domain":        {siskinv1.SessionAffinity{Domain: "example.org"}, "c=v; Path=/; Max-Age=86400; Domain=example.org; HttpOnly; SameSite=Lax"},
		"httpOnly":      {siskinv1.SessionAffinity{HTTPOnly: new(true)}, "c=v; Path=/; Max-Age=86400; HttpOnly; SameSite=Lax"},
		"not httpOnly":  {siskinv1.SessionAffinity{HTTPOnly: new(false)}, "c=v; Path=/; Max-Age=86400; SameSite=Lax"},
		"maxAge":        {siskinv1.SessionAffinity{MaxAge: new(int32(60))}, "c=v; Path=/; Max-Age=60; HttpOnly; SameSite=Lax"},
		"maxAge of 0":   {siskinv1.SessionAffinity{MaxAge: new(int32(0))}, "c=v; Path=/; Max-Age=0; HttpOnly; SameSite=Lax"},
		"partitioned":   {siskinv1.SessionAffinity{Partitioned: true}, "c=v; Path=/; Max-Age=86400; HttpOnly; SameSite=Lax; Partitioned"},
		"path":          {siskinv1.SessionAffinity{Path: "/shop"}, "c=v; Path=/shop; Max-Age=86400; HttpOnly; SameSite=Lax"},
		"sameSite":      {siskinv1.SessionAffinity{SameSite: "Strict"}, "c=v; Path=/; Max-Age=86400; HttpOnly; SameSite=Strict"},
		"secure":        {siskinv1.SessionAffinity{Secure: true}, "c=v; Path=/; Max-Age=86400; HttpOnly; Secure; SameSite=Lax"},
		"names of both": {siskinv1.SessionAffinity{CookieName: "x", PrimaryCookieName: "y"}, "c=v; Path=/; Max-Age=86400; HttpOnly; SameSite=Lax"},
		"all": {
			siskinv1.SessionAffinity{
				Domain: "example.org", HTTPOnly: new(true), MaxAge: new(int32(60)), Partitioned: true, Path: "/shop", SameSite: "None", Secure: true,
			},
			"c=v; Path=/shop; Max-Age=60; Domain=example.org; HttpOnly; Secure; SameSite=None; Partitioned",
		},
	} {
		t.Run(name, func(t *testing.T) {
			if got := cookie.Set(c.given, "c", "v"); got != c.want {
				t.Errorf("%s\nwant\n%s", got, c.want)
			}
		})
	}
}

func TestHeader(t *testing.T) {
	two := cookie.Header(map[string]string{"a": "1", "b": cookie.Any})
	confined, err := cookie.Confine("^v.*$")
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		regex, header string
		want          bool
	}{
		"alone":                         {cookie.Header(map[string]string{"a": "1"}), "a=1", true},
		"among others":                  {cookie.Header(map[string]string{"a": "1"}), "x=2; a=1; y=3", true},
		"the end of another name":       {cookie.Header(map[string]string{"a": "1"}), "ba=1", false},
		"the beginning of its value":    {cookie.Header(map[string]string{"a": "1"}), "a=12", false},
		"in the value of another":       {cookie.Header(map[string]string{"a": "1"}), "x=a=1", false},
		"two":                           {two, "a=1; b=2", true},
		"two the other way round":       {two, "b=2; c=3; a=1", true},
		"one of two":                    {two, "a=1", false},
		"a regex for the value":         {cookie.Header(map[string]string{"a": confined}), "a=v1; b=2", true},
		"stays in it":                   {cookie.Header(map[string]string{"a": confined}), "a=w; b=v", false},
		"any character is not the next": {cookie.Header(map[string]string{"a": confined}), "a=v; b=2", true},
	} {
		t.Run(name, func(t *testing.T) {
			if got := regexp.MustCompile(c.regex).MatchString(c.header); got != c.want {
				t.Errorf("%s on %q: %v", c.regex, c.header, got)
			}
		})
	}
	if _, err := cookie.Confine("("); err == nil {
		t.Error("a broken regex is taken")
	}
}

func TestDrop(t *testing.T) {
	got := cookie.Drop(siskinv1.SessionAffinity{Domain: "example.org", MaxAge: new(int32(60))}, "c")
	if want := "c=; Path=/; Max-Age=0; Domain=example.org; HttpOnly; SameSite=Lax"; got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
}
