"""/v1/domains."""

from __future__ import annotations

from fastapi import APIRouter, Response

from . import paging
from .context import Caller, Ctx
from .models import DomainChange, DomainOut, NewDomain, Page
from .problems import described

router = APIRouter(tags=["domains"])


@router.post("/domains", status_code=201, summary="Add a domain", responses=described(400, 409))
async def add_domain(body: NewDomain, ctx: Ctx, caller: Caller) -> DomainOut:
    """Adds a domain, with a first pair of DKIM keys."""
    domain = await ctx.domains.add(body.name)
    await ctx.domain_dns.keys.of(domain.name)
    await ctx.audit_log.record(caller, "domain.add", domain.name)
    return DomainOut.of(domain)


@router.get("/domains", summary="List domains", responses=described(400))
async def list_domains(
    ctx: Ctx, _caller: Caller, cursor: paging.Cursor = "", limit: paging.Limit = 100
) -> Page[DomainOut]:
    """Domains by name."""
    domains = await ctx.domains.page(paging.decode(cursor), limit + 1)
    more = paging.encode(domains[limit - 1].name) if len(domains) > limit else None
    return Page(items=[DomainOut.of(domain) for domain in domains[:limit]], next=more)


@router.get("/domains/{name}", summary="Show a domain", responses=described(404))
async def show_domain(name: str, ctx: Ctx, _caller: Caller) -> DomainOut:
    """One domain."""
    return DomainOut.of(await ctx.domains.get(name))


@router.patch("/domains/{name}", summary="Change a domain", responses=described(400, 404))
async def change_domain(name: str, body: DomainChange, ctx: Ctx, caller: Caller) -> DomainOut:
    """Names the domain's administrator; says how long what POP3 retrieved stays."""
    details: dict[str, object] = {}
    if body.admin is not None:
        domain = await ctx.domains.set_admin(name, body.admin)
        details["admin"] = domain.admin
    if "pop3_retention_days" in body.model_fields_set:
        domain = await ctx.domains.set_pop3_retention(name, body.pop3_retention_days)
        details["pop3_retention_days"] = domain.pop3_retention_days
    await ctx.audit_log.record(caller, "domain.change", domain.name, details)
    return DomainOut.of(domain)


@router.delete("/domains/{name}", status_code=204, summary="Remove a domain", responses=described(404, 409))
async def remove_domain(name: str, ctx: Ctx, caller: Caller) -> Response:
    """Removes a domain without accounts."""
    await ctx.domains.remove(name)
    await ctx.audit_log.record(caller, "domain.remove", name)
    return Response(status_code=204)
