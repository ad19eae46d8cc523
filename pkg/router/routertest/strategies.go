package routertest

import (
	"errors"
	"strings"

	"sigs.k8s.io/controller-runtime/pkg/client"

	siskinv1 "github.com/siskin-dev/siskin/api/v1"
	"github.com/siskin-dev/siskin/pkg/router"
)

// Audience selects requests in every way that a router may know.
func Audience() []siskinv1.RequestMatch {
	exact := func(s string) siskinv1.StringMatch { return siskinv1.StringMatch{Exact: s} }
	return []siskinv1.RequestMatch{
		{Headers: map[string]siskinv1.StringMatch{"X-Tester": exact("yes")}},
		{Cookies: map[string]siskinv1.StringMatch{"tester": exact("yes")}},
		{QueryParams: map[string]siskinv1.StringMatch{"tester": {Prefix: "y"}}},
		{URI: &siskinv1.StringMatch{Prefix: "/beta"}, Method: new(exact("GET"))},
	}
}

// Affinity keeps users of both versions.
func Affinity() *router.Affinity {
	return &router.Affinity{
		SessionAffinity: siskinv1.SessionAffinity{CookieName: "finch-canary", PrimaryCookieName: "finch-primary", Domain: "example.org"},
		Token:           "0123456789abcdef", PrimaryToken: "fedcba9876543210",
		Earlier: []router.Draw{{PrimaryToken: "01010101", Canary: 5}},
	}
}

// strategies are intents of all kinds that the router can do; the last has all at once.
func (s *suite) strategies() []router.Intent {
	caps := s.caps()
	var able []siskinv1.RequestMatch // of the audience
	for _, m := range Audience() {
		if _, _, lacks := caps.Lacks(router.Intent{Split: router.Split{Primary: 100, Audience: true}, Audience: []siskinv1.RequestMatch{m}}); !lacks {
			able = append(able, m)
		}
	}
	var out []router.Intent
	add := func(split router.Split, affinity *router.Affinity) {
		in := s.intent(split)
		in.Audience, in.Affinity = able, affinity
		if _, _, lacks := caps.Lacks(in); !lacks && (len(able) > 0 || !split.Audience) {
			out = append(out, in)
		}
	}
	add(router.Split{Primary: 100, Audience: true}, nil)
	add(router.Split{Primary: 100, Mirror: 100}, nil)
	add(router.Split{Primary: 100, Mirror: 30}, nil)
	add(router.Split{Primary: 80, Canary: 20}, Affinity())
	add(router.Split{Primary: 50, Canary: 50, Audience: true, Mirror: 7}, Affinity())
	return out
}

func (s *suite) carryOut(in router.Intent) router.Receipt {
	s.Helper()
	if err := s.router.Validate(in); err != nil {
		s.Fatalf("Validate(%s): %v", in.Split, err)
	}
	receipt, err := s.router.Apply(s.Context(), in)
	if err != nil {
		s.Fatalf("Apply(%s): %v", in.Split, err)
	}
	s.sum()
	return receipt
}

func (s *suite) seen(in router.Intent) router.Observation {
	s.Helper()
	obs, err := s.router.Observe(s.Context(), in)
	if err != nil {
		s.Fatalf("Observe(%s): %v", in.Split, err)
	}
	return obs
}

func strategiesReadBack(s *suite) {
	for _, in := range s.strategies() {
		s.carryOut(in)
		if obs := s.seen(in); obs.Evidence != router.EvidenceWritten || obs.Current != in.Split || !obs.Known {
			s.Fatalf("after Apply(%s): %+v", in.Split, obs)
		}
		if err := s.Accept(s.Context(), in); err != nil {
			s.Fatalf("playing the data plane: %v", err)
		}
		if obs := s.seen(in); obs.Evidence != s.caps().Ceiling {
			s.Fatalf("accepted: %+v", obs)
		}
		s.counter.Writes()
		if receipt := s.carryOut(in); receipt.Changed || s.counter.Writes() != 0 {
			s.Fatalf("the second Apply(%s) wrote", in.Split)
		}
		if !s.Reaches(s.get(), in) {
			s.Fatalf("%s leads nobody to the canary", in.Split)
		}
		if obs := s.seen(s.intent(router.Split{Primary: 100})); obs.Evidence != router.EvidenceNone || obs.Current == (router.Split{Primary: 100}) {
			s.Fatalf("%s is taken for all to the primary: %+v", in.Split, obs)
		}
	}
}

// strategiesAreTakenOut : when one version gets all, nothing but the split leads to the canary, whatever was there before and whatever
// else the intent still names.
func strategiesAreTakenOut(s *suite) {
	for _, in := range s.strategies() {
		s.carryOut(in)
		back := in
		back.Split = router.Split{Primary: 100}
		s.carryOut(back)
		if obs := s.seen(back); obs.Current != back.Split || obs.Evidence < router.EvidenceWritten {
			s.Fatalf("after %s, all to the primary: %+v", in.Split, obs)
		}
		if s.Reaches(s.get(), back) {
			s.Fatalf("after %s and all to the primary, something still leads to the canary: %+v", in.Split, s.get())
		}
		if obs := s.seen(s.intent(router.Split{Primary: 100})); obs.Evidence < router.EvidenceWritten {
			s.Fatalf("cookies of a rollout that is over are kept: %+v", obs)
		}
	}
}

// tokensAreWritten : a new rollout or step has other cookies, which is a change though no share moves.
func tokensAreWritten(s *suite) {
	if !s.caps().Features.Can(router.FeatureAffinity) {
		return
	}
	in := s.intent(router.Split{Primary: 80, Canary: 20})
	in.Affinity = Affinity()
	s.carryOut(in)
	for _, edit := range []func(*router.Affinity){
		func(a *router.Affinity) { a.Token = "11111111" }, func(a *router.Affinity) { a.PrimaryToken = "22222222" },
		func(a *router.Affinity) { a.Secure = true }, func(a *router.Affinity) { a.Earlier = nil }, func(a *router.Affinity) { a.PrimaryCookieName = "" },
	} {
		in.Affinity = new(*in.Affinity)
		edit(in.Affinity)
		if obs := s.seen(in); obs.Evidence != router.EvidenceNone || obs.Current != in.Split {
			s.Fatalf("other cookies are taken for these: %+v", obs)
		}
		if receipt := s.carryOut(in); !receipt.Changed || receipt.Foreign {
			s.Fatalf("other cookies: %+v", receipt)
		}
	}
}

// impossibleIsRefused : what Capabilities leaves out is refused by name, and nothing is written.
func impossibleIsRefused(s *suite) {
	if s.Limit != nil {
		s.Limit(s.T)
	}
	s.apply(router.Split{Primary: 100})
	s.counter.Writes()
	caps, refusals := s.caps(), 0
	refused := func(field string, edit func(*router.Intent)) {
		in := s.intent(router.Split{Primary: 100})
		edit(&in)
		_, err := s.router.Apply(s.Context(), in)
		invalid, ok := errors.AsType[*router.InvalidError](err)
		if !ok || invalid.Router == "" || !strings.HasPrefix(invalid.Field, field) || invalid.Message == "" {
			s.Errorf("%s is not refused: %v", field, err)
		}
		refusals++
	}
	refused("spec.analysis.match", func(in *router.Intent) { in.Split.Audience = true }) // nobody is selected
	impossible := func(edit func(*router.Intent)) {
		in := s.intent(router.Split{Primary: 100})
		edit(&in)
		if _, field, lacks := caps.Lacks(in); lacks {
			refused(field, edit)
		}
	}
	for i := range Audience() {
		impossible(func(in *router.Intent) { in.Split.Audience, in.Audience = true, Audience()[i:i+1] })
	}
	impossible(func(in *router.Intent) { in.Split.Mirror = 100 })
	impossible(func(in *router.Intent) { in.Split.Mirror = 30 })
	impossible(func(in *router.Intent) { in.Split, in.Affinity = router.Split{Primary: 80, Canary: 20}, Affinity() })
	if s.Limit != nil && refusals < 4 {
		s.Errorf("%d refusals: the data plane was to be able to do less: %+v", refusals, caps)
	}
	if n := s.counter.Writes(); n != 0 {
		s.Errorf("what was refused wrote %d times", n)
	}
}

func receiptsTell(s *suite) {
	first := true
	for _, split := range s.splits() {
		receipt := s.carryOut(s.intent(split))
		if !receipt.Changed && !first || receipt.Foreign || receipt.By != "" || receipt.Object == "" && receipt.Changed {
			s.Fatalf("Apply(%s): %+v", split, receipt)
		}
		if receipt = s.carryOut(s.intent(split)); receipt.Changed || receipt.Foreign {
			s.Fatalf("the second Apply(%s): %+v", split, receipt)
		}
		first = false
	}
	// What somebody adds beside it is not what is meant.
	s.foreign(func(obj client.Object) { obj.SetLabels(with(obj.GetLabels(), "example.org/team", "finches")) })
	if receipt := s.carryOut(s.intent(router.Split{Canary: 100})); !receipt.Changed || receipt.Foreign {
		s.Fatalf("a label is taken for another split: %+v", receipt)
	}
}

func foreignWriterIsTold(s *suite) {
	in := s.intent(router.Split{Primary: 100})
	s.carryOut(in)
	s.foreign(func(obj client.Object) { s.Tamper(obj, in) })
	if s.seen(in).Evidence != router.EvidenceNone {
		return // an admission policy did not let it happen
	}
	receipt := s.carryOut(in)
	if !receipt.Changed || !receipt.Foreign || receipt.By != "somebody-else" || receipt.Object == "" {
		s.Fatalf("somebody else's write: %+v", receipt)
	}
	if receipt = s.carryOut(s.intent(router.Split{Canary: 100})); !receipt.Changed || receipt.Foreign {
		s.Fatalf("after it was put right: %+v", receipt)
	}
}
