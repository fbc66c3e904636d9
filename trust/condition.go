package trust

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp/syntax"
	"strings"
	"sync"

	"cel.dev/cel-go/cel"
	celast "cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/overloads"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/interpreter"
)

const (
	maxExpression = 4096   // bytes of source
	maxPattern    = 1024   // bytes of one pattern for matches()
	maxCost       = 20_000 // CEL cost units of one evaluation
)

// condition is a CEL expression that was parsed and type-checked. Its program
// is built when it is first used: a large registry holds far more conditions
// than a replica ever evaluates.
type condition struct {
	source string
	env    *cel.Env
	// tellsApart says that the value depends on who the subject is.
	tellsApart bool

	once    sync.Once
	program cel.Program
	err     error
}

// newConditionEnv declares what an expression may speak of. The names are whole
// variables, so that a misspelt one is found by the type check.
func newConditionEnv() (*cel.Env, error) {
	text, list, dyn := cel.StringType, cel.ListType(cel.StringType), cel.MapType(cel.StringType, cel.DynType)
	vars := []cel.EnvOption{
		cel.Variable("actor.present", cel.BoolType),
		cel.Variable("client.id", text),
		cel.Variable("client.operator", text),
		cel.Variable("client.agent", text),
		cel.Variable("request.grant_type", text),
		cel.Variable("request.resources", list),
		cel.Variable("request.scopes", list),
		cel.Variable("request.actions", list),
		cel.Variable("request.client_address", text),
		cel.Variable("now", cel.TimestampType),
	}
	for _, who := range []string{"subject", "actor"} {
		vars = append(vars,
			cel.Variable(who+".iss", text), cel.Variable(who+".sub", text), cel.Variable(who+".client_id", text),
			cel.Variable(who+".scopes", list), cel.Variable(who+".actions", list), cel.Variable(who+".claims", dyn))
	}
	return cel.NewCustomEnv(append(vars, cel.StdLib(), cel.DefaultUTCTimeZone(true), cel.ASTValidators(
		cel.ValidateDurationLiterals(), cel.ValidateTimestampLiterals(), cel.ValidateRegexLiterals(),
		cel.ValidateHomogeneousAggregateLiterals()))...)
}

// compileCondition checks source against want, which is bool or string; a value
// only known at run time is accepted and checked then.
func compileCondition(env *cel.Env, source string, want *cel.Type) (*condition, error) {
	if len(source) > maxExpression {
		return nil, fmt.Errorf("the expression is longer than %d bytes", maxExpression)
	}
	ast, iss := env.Compile(source)
	if err := iss.Err(); err != nil {
		return nil, err
	}
	if out := ast.OutputType(); !out.IsExactType(want) && !out.IsExactType(cel.DynType) {
		return nil, fmt.Errorf("the expression gives %s, want %s", out, want)
	}
	if err := anchored(ast.NativeRep()); err != nil {
		return nil, err
	}
	return &condition{source: source, env: env, tellsApart: identifies(ast.NativeRep())}, nil
}

// identifies reports whether an expression looks at what differs from one
// subject to the next.
func identifies(ast *celast.AST) bool {
	for _, ref := range ast.ReferenceMap() {
		switch ref.Name {
		case "subject.sub", "subject.claims":
			return true
		}
	}
	return false
}

// anchored refuses patterns that match a part of a text, which read as if they
// matched the whole (CL-20), and patterns made at run time.
func anchored(ast *celast.AST) (err error) {
	celast.PreOrderVisit(ast.Expr(), celast.NewExprVisitor(func(e celast.Expr) {
		if e.Kind() != celast.CallKind || e.AsCall().FunctionName() != overloads.Matches {
			return
		}
		args := e.AsCall().Args()
		pattern, ok := "", false
		if last := args[len(args)-1]; last.Kind() == celast.LiteralKind {
			pattern, ok = last.AsLiteral().Value().(string)
		}
		if len(pattern) > maxPattern {
			err = fmt.Errorf("a pattern for matches() is longer than %d bytes", maxPattern)
		} else if !ok || !isAnchored(pattern) {
			err = errors.New("a pattern for matches() must be a literal that is anchored at both ends as a whole, such as '^(?:a|b)$'")
		}
	}))
	return err
}

func isAnchored(pattern string) bool {
	re, err := syntax.Parse(pattern, syntax.Perl)
	if err != nil || re.Op != syntax.OpConcat || len(re.Sub) < 2 {
		return false
	}
	return re.Sub[0].Op == syntax.OpBeginText && re.Sub[len(re.Sub)-1].Op == syntax.OpEndText
}

func (c *condition) build() (cel.Program, error) {
	c.once.Do(func() {
		ast, iss := c.env.Compile(c.source)
		if c.err = iss.Err(); c.err == nil {
			c.program, c.err = c.env.Program(ast, cel.CostLimit(maxCost), cel.EvalOptions(cel.OptOptimize))
		}
	})
	return c.program, c.err
}

// holds evaluates a condition. Whatever goes wrong, an absent claim included,
// makes it false, and why says what.
func (c *condition) holds(vars *variables) (ok bool, why string) {
	p, err := c.build()
	if err != nil {
		return false, err.Error()
	}
	out, _, err := p.Eval(vars)
	if err != nil {
		return false, c.why(err)
	}
	b, isBool := out.(types.Bool)
	if !isBool {
		return false, "the result is not true or false"
	}
	return bool(b), ""
}

// why says what kept an expression from having a value. CEL's own message may
// hold a claim's value; a key is named only where the expression itself does.
func (c *condition) why(err error) string {
	if key, ok := strings.CutPrefix(err.Error(), "no such key: "); ok {
		if key != "" && strings.Contains(c.source, key) {
			return "the claims have no " + key
		}
		return "the claims have no such key"
	}
	switch text := err.Error(); {
	case strings.Contains(text, "cost limit"):
		return "the expression costs more than its limit"
	case strings.Contains(text, "no such attribute"):
		return "there is no actor"
	case strings.Contains(text, "no such overload"):
		return "a claim has another type than the expression takes"
	}
	return "the expression has no value"
}

// text evaluates an expression that gives a text.
func (c *condition) text(vars *variables) (string, error) {
	p, err := c.build()
	if err != nil {
		return "", err
	}
	out, _, err := p.Eval(vars)
	if err != nil {
		return "", errors.New(c.why(err))
	}
	s, ok := out.(types.String)
	if !ok {
		return "", errors.New("the result is not text")
	}
	return string(s), nil
}

// variables are what a condition sees of one request. They serve one request
// and are not safe for concurrent use.
type variables struct {
	ask    *Ask
	claims [2]map[string]any // of subject and actor, numbers converted, on first use
}

// ResolveName gives the value of a variable.
func (v *variables) ResolveName(name string) (any, bool) {
	a := v.ask
	switch name {
	case "actor.present":
		return a.Actor != nil, true
	case "client.id":
		return a.Client.ID.String(), true
	case "client.operator":
		return a.Client.Operator, true
	case "client.agent":
		if a.Client.Agent == nil {
			return "", true
		}
		return a.Client.Agent.ID, true
	case "request.grant_type":
		return a.Grant, true
	case "request.resources":
		return texts(a.Targets), true
	case "request.scopes":
		return a.Scopes.List(), true
	case "request.actions":
		return texts(a.Actions), true
	case "request.client_address":
		if !a.From.Address.IsValid() {
			return "", true
		}
		return a.From.Address.String(), true
	case "now":
		return a.Now, true
	}
	if len(name) > 8 && name[:8] == "subject." {
		return v.party(name[8:], &a.Subject, 0)
	}
	if len(name) > 6 && name[:6] == "actor." && a.Actor != nil {
		return v.party(name[6:], a.Actor, 1)
	}
	return nil, false
}

func (v *variables) party(name string, p *Party, i int) (any, bool) {
	switch name {
	case "iss":
		return p.Issuer, true
	case "sub":
		return p.Subject, true
	case "client_id":
		return p.Holder, true
	case "scopes":
		return p.Scopes.List(), true
	case "actions":
		return p.actions(), true
	case "claims":
		if v.claims[i] == nil {
			v.claims[i] = plainNumbers(p.Claims).(map[string]any)
		}
		return v.claims[i], true
	}
	return nil, false
}

// Parent is part of CEL's interface; there is none.
func (v *variables) Parent() interpreter.Activation { return nil }

func texts[T fmt.Stringer](in []T) []string {
	out := make([]string, len(in))
	for i, s := range in {
		out[i] = s.String()
	}
	return out
}

// plainNumbers turns JSON numbers into what CEL computes with.
func plainNumbers(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := maps.Clone(v)
		for k, x := range out {
			out[k] = plainNumbers(x)
		}
		if out == nil {
			out = map[string]any{}
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, x := range v {
			out[i] = plainNumbers(x)
		}
		return out
	case json.Number:
		if i, err := v.Int64(); err == nil {
			return i
		}
		f, _ := v.Float64()
		return f
	}
	return v
}
