package gatewayapi

import (
	"testing"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/router"
)

// Each attribute has a row in which it alone is given, so that one that is ignored is noticed.
func TestSetCookie(t *testing.T) {
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
			if got := setCookie(&router.Affinity{SessionAffinity: c.given}, "c", "v"); got != c.want {
				t.Errorf("%s\nwant\n%s", got, c.want)
			}
		})
	}
}
