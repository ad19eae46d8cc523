package canary

import (
	"testing"

	"k8s.io/apimachinery/pkg/types"
)

func TestASlowHookIsHeard(t *testing.T) {
	var p polls
	who := types.NamespacedName{Namespace: "n", Name: "c"}
	t0, t1, t2 := "r1/rev/t0/rollback/abort", "r1/rev/t1/rollback/abort", "r1/rev/t2/rollback/abort"
	if key := p.key(who, t0); key != t0 {
		t.Errorf("the first asking is its own call: %s", key)
	}
	if key := p.key(who, t1); key != t0 {
		t.Errorf("a call that is under way answers the next asking too: %s", key)
	}
	p.heard(who, t1)
	if key := p.key(who, t1); key != t0 {
		t.Errorf("the answer stays for the asking that it answered: %s", key)
	}
	if key := p.key(who, t2); key != t2 {
		t.Errorf("after the answer a new asking is a new call: %s", key)
	}
	if once := "r1/rev/s1/a1/rollout/check"; p.key(who, once) != once {
		t.Error("a question that is asked once is its own call")
	}
	p.forget(who, map[string]bool{t2: true})
	if len(p.all[who]) != 1 {
		t.Error("a poll that goes on was dropped")
	}
	p.forget(who, nil)
	if len(p.all) != 0 {
		t.Errorf("left: %v", p.all)
	}
}
