"""Explicit providers: a resource is where the policy says, whatever the shell's own region and account are."""

from __future__ import annotations

from pulumi_aws._inputs import ProviderAssumeRoleArgs, ProviderEndpointArgs
from pulumi_aws.provider import Provider, ProviderArgs

from pgdr_infra.settings import Settings

# The services that the programs use, as AWS's provider names them.
_SERVICES = ("cloudtrail", "cloudwatch", "ec2", "iam", "kms", "logs", "route53", "s3", "sns", "ssm", "sts")


def provider(settings: Settings, region: str, *, account: str = "", role_arn: str = "") -> Provider:
    """Return the provider for a region.

    Args:
        settings: of the stack.
        region: the region.
        account: another account than the stack's own, or nothing.
        role_arn: role to take on in that account.
    """
    name = f"{region}-{account}" if account else region
    args = ProviderArgs(
        region=region,
        # Production's programs cannot reach into staging's account, whoever's credentials are in the shell.
        allowed_account_ids=[account or settings.account],
    )
    if role_arn:
        args.assume_roles = [ProviderAssumeRoleArgs(role_arn=role_arn, session_name="pgdr-infra")]
    if settings.endpoint is not None:
        args.endpoints = [ProviderEndpointArgs(**dict.fromkeys(_SERVICES, settings.endpoint))]
        args.access_key = args.secret_key = "testing"  # noqa: S105 - AWS for tests takes any word
        args.s3_use_path_style = args.skip_metadata_api_check = True
    return Provider(name, args)
